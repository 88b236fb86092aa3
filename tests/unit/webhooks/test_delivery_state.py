from __future__ import annotations

from typing import NoReturn

from support.sandbox import Clock

from proxy.billing.ledger.sqlite_ledger import SqliteLedger
from proxy.errors import StoreAway
from proxy.webhooks.delivery_state import DeliveryLock, DeliveryState

KEEP, HOLD = 86_400.0, 20.0


class Away(SqliteLedger):
    """A ledger that answers claims and takes nothing down."""

    async def store_answer(self, *_: object, **__: object) -> NoReturn:
        raise StoreAway

    async def free_key(self, *_: object, **__: object) -> NoReturn:
        raise StoreAway


def claims(
    ledger: SqliteLedger | None = None, clock: Clock | None = None, lost: list[int] | None = None
) -> DeliveryState:
    def away() -> None:
        (lost if lost is not None else []).append(1)

    return DeliveryState(ledger or SqliteLedger(":memory:"), keep=KEEP, hold=HOLD, clock=clock or Clock(), away=away)


async def test_a_ticket_is_of_the_job_it_was_said_to_be_of_first() -> None:
    """The first job stays bound, another one is refused, and reservations are independent."""
    it = claims()

    bound = [await it.bind("t1", "a"), await it.bind("t1", "a"), await it.bind("t1", "b"), await it.bind("t1", "a")]

    assert bound == [True, True, False, True]
    assert await it.bind("t2", "b") is True


async def test_one_at_a_time_tells_the_app() -> None:
    """The second waits, a release lets the next one try, and a completed one returns its signature."""
    it = claims()

    assert await it.acquire("job", "one") is DeliveryLock.OURS
    assert await it.acquire("job", "two") is DeliveryLock.TAKEN
    await it.release("job", "two")
    assert await it.acquire("job", "two") is DeliveryLock.TAKEN
    await it.release("job", "one")
    assert await it.acquire("job", "two") is DeliveryLock.OURS
    await it.complete("job", "two", b"signature")
    assert await it.acquire("job", "three") == b"signature"
    assert await it.acquire("another job", "three") is DeliveryLock.OURS


async def test_one_who_was_killed_holds_it_for_a_while_only() -> None:
    """After *hold* seconds the next may try, and the dead one's word counts no more."""
    clock = Clock()
    it = claims(clock=clock)
    await it.acquire("job", "dead")
    clock.forward(HOLD - 1)
    before = await it.acquire("job", "next")
    clock.forward(1)
    after = await it.acquire("job", "next")
    await it.complete("job", "dead", b"late")

    assert (before, after) == (DeliveryLock.TAKEN, DeliveryLock.OURS)
    assert await it.acquire("job", "third") is DeliveryLock.TAKEN


async def test_what_the_app_knows_is_remembered() -> None:
    """The state is stored for *keep* seconds after the notification."""
    clock = Clock()
    it = claims(clock=clock)
    await it.acquire("job", "one")
    await it.complete("job", "one", b"signature")
    clock.forward(KEEP - 1)
    remembered = await it.acquire("job", "two")
    clock.forward(1)

    assert remembered == b"signature"
    assert await it.acquire("job", "two") is DeliveryLock.OURS


async def test_what_cannot_be_written_is_counted() -> None:
    """The app knows all the same; nothing is raised."""
    lost: list[int] = []
    it = claims(Away(":memory:"), lost=lost)
    await it.acquire("job", "one")
    await it.complete("job", "one", b"signature")
    await it.release("job", "one")

    assert lost == [1, 1]

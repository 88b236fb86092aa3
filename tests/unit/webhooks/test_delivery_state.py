from __future__ import annotations

from typing import NoReturn

from support.sandbox import Clock

from proxy.billing.ledger.sqlite_ledger import SqliteLedger
from proxy.errors import StoreAway
from proxy.webhooks.delivery_state import CallbackClaims, Turn

KEEP, HOLD = 86_400.0, 20.0


class Away(SqliteLedger):
    """A ledger that answers claims and takes nothing down."""

    async def store(self, *_: object, **__: object) -> NoReturn:
        raise StoreAway

    async def free(self, *_: object, **__: object) -> NoReturn:
        raise StoreAway


def claims(
    ledger: SqliteLedger | None = None, clock: Clock | None = None, lost: list[int] | None = None
) -> CallbackClaims:
    def away() -> None:
        (lost if lost is not None else []).append(1)

    return CallbackClaims(ledger or SqliteLedger(":memory:"), keep=KEEP, hold=HOLD, clock=clock or Clock(), away=away)


async def test_a_ticket_is_of_the_job_it_was_said_to_be_of_first() -> None:
    """Whoever says it, and however often; another job is told apart. Tickets do not touch each other."""
    it = claims()

    said = [await it.bind("t1", "a"), await it.bind("t1", "a"), await it.bind("t1", "b"), await it.bind("t1", "a")]

    assert said == [True, True, False, True]
    assert await it.bind("t2", "b") is True


async def test_one_at_a_time_tells_the_app() -> None:
    """The second waits; who gives up lets the next one try; once the app knows, all hear by which callback."""
    it = claims()

    assert await it.begin("job", "one") is Turn.OURS
    assert await it.begin("job", "two") is Turn.TAKEN
    await it.give_up("job", "two")
    assert await it.begin("job", "two") is Turn.TAKEN
    await it.give_up("job", "one")
    assert await it.begin("job", "two") is Turn.OURS
    await it.conclude("job", "two", b"signature")
    assert await it.begin("job", "three") == b"signature"
    assert await it.begin("another job", "three") is Turn.OURS


async def test_one_who_was_killed_holds_it_for_a_while_only() -> None:
    """After *hold* seconds the next may try, and the dead one's word counts no more."""
    clock = Clock()
    it = claims(clock=clock)
    await it.begin("job", "dead")
    clock.forward(HOLD - 1)
    before = await it.begin("job", "next")
    clock.forward(1)
    after = await it.begin("job", "next")
    await it.conclude("job", "dead", b"late")

    assert (before, after) == (Turn.TAKEN, Turn.OURS)
    assert await it.begin("job", "third") is Turn.TAKEN


async def test_what_the_app_knows_is_remembered() -> None:
    """For *keep* seconds from when it was told."""
    clock = Clock()
    it = claims(clock=clock)
    await it.begin("job", "one")
    await it.conclude("job", "one", b"signature")
    clock.forward(KEEP - 1)
    remembered = await it.begin("job", "two")
    clock.forward(1)

    assert remembered == b"signature"
    assert await it.begin("job", "two") is Turn.OURS


async def test_what_cannot_be_written_is_counted() -> None:
    """The app knows all the same; nothing is raised."""
    lost: list[int] = []
    it = claims(Away(":memory:"), lost=lost)
    await it.begin("job", "one")
    await it.conclude("job", "one", b"signature")
    await it.give_up("job", "one")

    assert lost == [1, 1]

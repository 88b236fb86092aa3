from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from support.scripted_upstream import on_both_loops, until

from proxy.errors import ConnectFailed, DeadlineExceeded, PoolExhausted
from proxy.http.client.connection import Connection
from proxy.http.client.pool import Pool, fail_waiter


class FakeConnection(Connection):
    """A connection that says what a test wants it to say."""

    def __init__(self, aborted: list[Connection]) -> None:
        super().__init__(max_head=1000)
        self.complete = True
        self.quiet = True
        self._aborted = aborted

    def finish(self) -> bool:
        return self.complete

    def is_idle_and_clean(self) -> bool:
        return self.quiet

    def abort(self) -> None:
        if self not in self._aborted:
            self._aborted.append(self)
            self._loop.call_soon(self.lost.set_result, None)


class Dials:
    """Lists the connections made and those aborted; `gate` holds dials up, each of `errors` breaks one."""

    def __init__(self) -> None:
        self.made: list[FakeConnection] = []
        self.aborted: list[Connection] = []
        self.open = asyncio.Event()
        self.open.set()
        self.errors: list[Exception] = []

    async def __call__(self) -> Connection:
        await self.open.wait()
        if self.errors:
            raise self.errors.pop()
        self.made.append(FakeConnection(self.aborted))
        return self.made[-1]


def pool(
    dial: Callable[[], Awaitable[Connection]],
    size: int = 1,
    connect_timeout: float = 5,
    acquire_timeout: float = 5,
    max_idle: float = 5,
    reserve: int = 0,
) -> Pool:
    return Pool(
        dial,
        size=size,
        reserve=reserve,
        connect_timeout=connect_timeout,
        acquire_timeout=acquire_timeout,
        max_idle=max_idle,
    )


def soon(seconds: float = 5.0) -> float:
    return asyncio.get_running_loop().time() + seconds


def counts(of: Pool) -> tuple[int, int, int]:
    return of.active, of.idle, of.waiting


@on_both_loops
async def test_a_release_that_fails_still_frees_the_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even a fault of our own can lose a slot."""

    def fail() -> bool:
        raise RuntimeError("a bug")

    dials = Dials()
    some = pool(dials)
    occupied = await some.acquire(soon())
    monkeypatch.setattr(occupied, "finish", fail)
    with pytest.raises(RuntimeError):
        some.release(occupied)

    assert counts(some) == (0, 0, 0)
    await some.aclose()


@on_both_loops
async def test_the_last_used_connection_goes_first() -> None:
    """An idle connection is preferred to a new one, the warmest of them first."""
    dials = Dials()
    some = pool(dials, size=3)
    first, second = await some.acquire(soon()), await some.acquire(soon())
    some.release(first)
    some.release(second)
    assert counts(some) == (0, 2, 0)

    assert await some.acquire(soon()) is second
    assert await some.acquire(soon()) is first
    assert await some.acquire(soon()) is dials.made[2]
    assert counts(some) == (3, 0, 0)
    await some.aclose()


@on_both_loops
async def test_the_reserve_is_for_reserved_requests_alone() -> None:
    """A full pool refuses others in time, while a reserved request has a slot at once."""
    some = pool(Dials(), size=3, reserve=1, acquire_timeout=0.05)
    ordinary = [await some.acquire(soon()) for _ in range(2)]
    with pytest.raises(PoolExhausted):
        await some.acquire(soon())

    reserved = await some.acquire(soon(), reserved=True)
    assert counts(some) == (3, 0, 0)
    for connection in (*ordinary, reserved):
        some.release(connection)
    await some.aclose()


@on_both_loops
async def test_a_released_slot_refills_the_reserve_first() -> None:
    """A released slot goes to a waiting reserved request, else to the reserve, else to the longest wait."""
    some = pool(Dials(), size=2, reserve=1)
    ordinary, reserved = await some.acquire(soon()), await some.acquire(soon(), reserved=True)
    waiting = asyncio.create_task(some.acquire(soon()))
    urgent = asyncio.create_task(some.acquire(soon(), reserved=True))
    await until(lambda: some.waiting == 2)
    some.release(ordinary)
    second = await urgent
    assert not waiting.done()

    some.release(reserved)
    await asyncio.sleep(0)
    assert not waiting.done()
    some.release(second)
    some.release(await waiting)
    assert (some.active, some.waiting) == (0, 0)
    await some.aclose()


@on_both_loops
async def test_an_unfinished_connection_is_not_kept() -> None:
    """A connection that `finish` calls unfit leaves a free slot and no idle connection."""
    dials = Dials()
    some = pool(dials)
    await some.acquire(soon())
    dials.made[0].complete = False
    some.release(dials.made[0])

    assert counts(some) == (0, 0, 0)
    assert await some.acquire(soon()) is dials.made[1]
    await some.aclose()


@on_both_loops
async def test_a_connection_that_is_not_quiet_is_discarded() -> None:
    """Dead or poisoned ones are closed unused, however many there are."""
    dials = Dials()
    some = pool(dials, size=3)
    for connection in [await some.acquire(soon()) for _ in range(3)]:
        some.release(connection)
    dials.made[1].quiet = dials.made[2].quiet = False

    assert await some.acquire(soon()) is dials.made[0]
    assert dials.aborted == [dials.made[2], dials.made[1]]
    await some.aclose()


@on_both_loops
async def test_an_idle_connection_expires() -> None:
    """Sweeps close connections that were idle for too long, and no others, without a request."""
    dials = Dials()
    some = pool(dials, size=2, max_idle=0.05)
    early, late = await some.acquire(soon()), await some.acquire(soon())
    some.release(early)
    some.release(late)
    late.idle_since += 0.04  # too young for the first sweep
    await until(lambda: some.idle == 0)

    assert dials.aborted == [early, late]
    assert await some.acquire(soon()) is dials.made[2]
    await some.aclose()


@on_both_loops
async def test_an_expired_connection_is_not_used_before_the_sweep() -> None:
    """A loop that was busy for too long does not make an old connection young."""
    dials = Dials()
    some = pool(dials, max_idle=0.02)
    some.release(await some.acquire(soon()))
    dials.made[0].idle_since -= 1

    assert await some.acquire(soon()) is dials.made[1]
    await some.aclose()


@on_both_loops
async def test_a_connection_lost_while_idle_is_forgotten() -> None:
    """The count of idle connections is true without anybody asking for one."""
    dials = Dials()
    some = pool(dials)
    some.release(await some.acquire(soon()))
    dials.made[0].abort()
    await until(lambda: some.idle == 0)

    assert await some.acquire(soon()) is dials.made[1]
    await some.aclose()


@on_both_loops
async def test_whoever_waits_longest_is_served_first() -> None:
    """A slot goes to the head of the queue; a later request does not overtake, also in the same turn."""
    dials, order = Dials(), list[int]()
    some = pool(dials)

    async def use(number: int) -> None:
        connection = await some.acquire(soon())
        order.append(number)
        await asyncio.sleep(0)
        some.release(connection)

    occupied = await some.acquire(soon())
    queue = [asyncio.create_task(use(number)) for number in range(5)]
    await until(lambda: some.waiting == 5)
    some.release(occupied)
    queue.append(asyncio.create_task(use(5)))
    await asyncio.gather(*queue)

    assert order == [0, 1, 2, 3, 4, 5]
    assert counts(some) == (0, 1, 0)
    assert len(dials.made) == 1
    await some.aclose()


@on_both_loops
@pytest.mark.parametrize(
    ("acquire_timeout", "timeout", "error"), [(0.05, 5, PoolExhausted), (5, 0.05, DeadlineExceeded)]
)
async def test_waiting_has_an_end(acquire_timeout: float, timeout: float, error: type[Exception]) -> None:
    """The shorter of the two limits ends the wait, nothing sent; the place in the queue is gone."""
    some = pool(Dials(), acquire_timeout=acquire_timeout)
    occupied = await some.acquire(soon())
    with pytest.raises(error) as caught:
        await some.acquire(soon(timeout))

    assert getattr(caught.value, "sent") is False  # noqa: B009  the type is not known here
    assert counts(some) == (1, 0, 0)
    some.release(occupied)
    assert counts(some) == (0, 1, 0)
    await some.aclose()


@on_both_loops
@pytest.mark.parametrize(
    ("connect_timeout", "timeout", "error"), [(0.05, 5, ConnectFailed), (5, 0.05, DeadlineExceeded)]
)
async def test_connecting_has_an_end(connect_timeout: float, timeout: float, error: type[Exception]) -> None:
    """The shorter of the two limits ends the dial, nothing sent; the slot is free again."""
    dials = Dials()
    some = pool(dials, connect_timeout=connect_timeout)
    dials.open.clear()
    with pytest.raises(error) as caught:
        await some.acquire(soon(timeout))

    assert getattr(caught.value, "sent") is False  # noqa: B009  the type is not known here
    assert counts(some) == (0, 0, 0)
    await some.aclose()


@on_both_loops
@pytest.mark.parametrize("error", [ConnectFailed("no"), ValueError("a bug")], ids=["refused", "bug"])
async def test_a_failed_dial_gives_its_slot_to_the_next(error: Exception) -> None:
    """A waiting request gets the slot of a dial that failed, by any error."""
    dials = Dials()
    dials.errors = [error]
    dials.open.clear()
    some = pool(dials)
    failing, waiting = asyncio.create_task(some.acquire(soon())), asyncio.create_task(some.acquire(soon()))
    await until(lambda: some.waiting == 1)
    dials.open.set()
    await asyncio.wait([failing])

    assert failing.exception() is error
    assert await waiting is dials.made[0]
    await some.aclose()


@on_both_loops
async def test_cancelled_while_waiting() -> None:
    """A caller that left the queue gets no slot, and the others move up."""
    some = pool(Dials())
    occupied = await some.acquire(soon())
    leaver, next_one = asyncio.create_task(some.acquire(soon())), asyncio.create_task(some.acquire(soon()))
    await until(lambda: some.waiting == 2)
    leaver.cancel()
    some.release(occupied)

    assert await next_one is occupied
    assert leaver.cancelled()
    assert counts(some) == (1, 0, 0)
    await some.aclose()


@on_both_loops
@pytest.mark.parametrize("waiting", [0, 1])
async def test_granted_and_cancelled_in_one_turn(waiting: int) -> None:
    """A slot that reaches a caller who is leaving goes on to the next, or becomes free."""
    some = pool(Dials())
    occupied = await some.acquire(soon())
    leaver = asyncio.create_task(some.acquire(soon()))
    others = [asyncio.create_task(some.acquire(soon())) for _ in range(waiting)]
    await until(lambda: some.waiting == 1 + waiting)
    some.release(occupied)
    leaver.cancel()
    await asyncio.wait([leaver])

    assert leaver.cancelled()
    assert [await other for other in others] == [occupied] * waiting
    assert counts(some) == (waiting, 1 - waiting, 0)
    await some.aclose()


@on_both_loops
async def test_refused_and_cancelled_in_one_turn() -> None:
    """A caller whose time is up and who leaves has no slot to give back."""
    some = pool(Dials())
    await some.acquire(soon())
    leaver = asyncio.create_task(some.acquire(soon()))
    await until(lambda: some.waiting == 1)
    (waiter,) = some._waiting
    fail_waiter(waiter, PoolExhausted("late"))
    fail_waiter(waiter, PoolExhausted("closed"))  # one answer is enough
    leaver.cancel()
    await asyncio.wait([leaver])

    assert leaver.cancelled()
    assert counts(some) == (1, 0, 0)
    await some.aclose()


@on_both_loops
async def test_a_granted_slot_passes_those_who_gave_up() -> None:
    """A caller whose time was up in this very turn is not handed a slot it will not take."""
    some = pool(Dials())
    occupied = await some.acquire(soon())
    late, patient = asyncio.create_task(some.acquire(soon())), asyncio.create_task(some.acquire(soon()))
    await until(lambda: some.waiting == 2)
    fail_waiter(next(iter(some._waiting)), PoolExhausted("late"))
    some.release(occupied)

    assert await patient is occupied
    with pytest.raises(PoolExhausted):
        await late
    await some.aclose()


@on_both_loops
async def test_closing() -> None:
    """A closed pool has closed idle and used connections, refuses the queue and later requests."""
    dials = Dials()
    some = pool(dials, size=3)
    used, idle = await some.acquire(soon()), await some.acquire(soon())
    some.release(idle)
    dials.open.clear()
    some.release(await some.acquire(soon()))
    dialling = [asyncio.create_task(some.acquire(soon())) for _ in range(2)]
    await asyncio.sleep(0)
    waiting = asyncio.create_task(some.acquire(soon()))
    await until(lambda: some.waiting == 1)
    await some.aclose()
    dials.open.set()
    dials.made[0].complete = False
    some.release(used)
    results = await asyncio.gather(*dialling, waiting, some.acquire(soon()), return_exceptions=True)

    assert set(dials.aborted) == set(dials.made)
    assert [type(result) for result in results if not isinstance(result, Connection)] == [PoolExhausted] * 3
    assert some.waiting == 0


@on_both_loops
async def test_closing_an_empty_pool() -> None:
    """There is nothing to wait for."""
    some = pool(Dials())
    await some.aclose()

    assert counts(some) == (0, 0, 0)


@on_both_loops
async def test_an_idle_connection_is_taken_without_a_wait() -> None:
    """An idle connection counts as in use. None is taken where none is idle, or only the reserve is free."""
    dials = Dials()
    some = pool(dials, size=2, reserve=1)
    assert some.acquire_idle() is None

    first = await some.acquire(soon())
    some.release(first)
    assert some.acquire_idle() is first
    assert counts(some) == (1, 0, 0)
    second = await some.acquire(soon(), reserved=True)
    some.release(second)

    assert some.acquire_idle() is None
    assert some.acquire_idle(reserved=True) is second
    assert counts(some) == (2, 0, 0)
    await some.aclose()
    assert some.acquire_idle(reserved=True) is None

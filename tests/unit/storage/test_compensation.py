import asyncio
from collections.abc import Awaitable, Callable

import pytest

from proxy.errors import StoreAway
from proxy.storage.compensation import CONCURRENCY, PendingUndo


class Store:
    """Record of the undos that ran; *away* makes them fail, and *paused* makes them wait."""

    def __init__(self) -> None:
        self.undone: list[str] = []
        self.away = False
        self.running = asyncio.Event()
        self.resumed = asyncio.Event()
        self.resumed.set()

    def undo(self, name: str) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            self.running.set()
            await self.resumed.wait()
            if self.away:
                raise StoreAway
            self.undone.append(name)

        return run


async def test_each_undo_runs_once() -> None:
    """All undos run at the first flush, in the order of their addition, and not again."""
    store, pending = Store(), PendingUndo()
    names = [str(number) for number in range(2 * CONCURRENCY + 1)]
    for name in names:
        pending.add(name, store.undo(name))
    assert store.undone == []
    for _ in range(2):
        pending.flush()
        await pending.aclose()

    assert (store.undone, len(pending)) == (names, 0)


async def test_a_store_that_is_away_again() -> None:
    """Undos that fail remain and run at the next flush."""
    store, pending = Store(), PendingUndo()
    pending.add("a", store.undo("a"))
    store.away = True
    pending.flush()
    await pending.aclose()
    store.away = False
    pending.flush()
    await pending.aclose()

    assert store.undone == ["a"]


async def test_a_repeated_write_cancels_its_undo() -> None:
    """A cancelled undo does not run, and a name without an undo can be cancelled."""
    store, pending = Store(), PendingUndo()
    pending.add("a", store.undo("a"))
    pending.cancel("a")
    pending.cancel("b")
    pending.flush()
    await pending.aclose()

    assert store.undone == []


async def test_a_running_undo_cannot_be_cancelled() -> None:
    """A write whose undo is running is refused, because their order is unknown; afterwards it is allowed."""
    store, pending = Store(), PendingUndo()
    pending.add("a", store.undo("a"))
    store.resumed.clear()
    pending.flush()
    pending.flush()
    await store.running.wait()
    with pytest.raises(StoreAway):
        pending.cancel("a")
    store.resumed.set()
    await pending.aclose()
    pending.cancel("a")

    assert store.undone == ["a"]


async def test_a_long_outage() -> None:
    """Undos beyond the capacity are dropped; the store's TTL ends those writes."""
    store, pending = Store(), PendingUndo(capacity=2)
    for name in ("a", "b", "c"):
        pending.add(name, store.undo(name))
    pending.flush()
    await pending.aclose()

    assert store.undone == ["a", "b"]

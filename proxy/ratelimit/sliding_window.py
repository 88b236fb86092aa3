"""Sliding windows of request counts, and their store in this process's memory.

A window of *w* seconds is counted in slices of *w* / SLICES. It is full while the current slice and the SLICES before
it hold the amount. So no *w* seconds, at any start, hold more. A count is forgotten up to one slice late.

The usual sliding-window counter weighs the previous window as if its requests had come evenly. It needs two numbers
only, but admits up to twice the amount around a burst at a window's end.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

SLICES = 10
CAPACITY = 50_000  # windows in memory for one limit, some 350 bytes each


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Limit of *amount* in any *seconds*. *name* is fit for response fields and store keys."""

    name: str
    amount: int
    seconds: int

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,31}", self.name):
            raise ValueError(f"{self.name!r} must be lower-case letters, digits and hyphens, 32 at most")
        if not (1 <= self.amount <= 10**9 and 1 <= self.seconds <= 10**9):
            raise ValueError(f"{self.name}: amount and seconds go from 1 to 10^9")


WindowHit = tuple[RateLimit, str]  # a limit, and the key of the caller or address that is counted
Remaining = tuple[int, int]  # requests left now, and whole seconds until there are more (0: none was counted)


class WindowStore(Protocol):
    """Store of windows."""

    async def hit(self, hits: Sequence[WindowHit]) -> tuple[bool, Sequence[Remaining]]:
        """Counts one request in each window if all have room, in one atomic step.

        Returns whether it was counted, and what each window has left after it; a full window has none left.

        Raises StoreAway.
        """

    async def undo(self, hits: Sequence[WindowHit]) -> None:
        """Takes one request out of the newest count of each window. Raises StoreAway."""


class SlidingWindow:
    """Counts of the last SLICES + 1 slices of *length* ms, in a ring.

    Slices are numbered from the clock's zero.
    """

    __slots__ = ("_ends", "_length", "_newest", "_ring", "_slot", "total", "until")

    def __init__(self, length: int, now: int) -> None:
        self._length = length
        self._newest = now // length
        self._slot = self._newest % (SLICES + 1)
        self.until = (self._newest + 1) * length  # time in ms at which the newest slice ends
        self._ring = [0] * (SLICES + 1)
        self._ends = 0  # time in ms at which the oldest count is forgotten, if there is one
        self.total = 0

    def advance(self, now: int) -> None:
        """Forgets counts that are too old. *now* in ms of a clock that never steps back."""
        newest = now // self._length
        for at in range(max(self._newest, newest - SLICES - 1) + 1, newest + 1):
            self.total -= self._ring[at % (SLICES + 1)]
            self._ring[at % (SLICES + 1)] = 0
        self._newest = newest
        self._slot = newest % (SLICES + 1)
        self.until = (newest + 1) * self._length
        self._update_end()

    def hit(self, now: int) -> int:
        """Counts one request, and returns whole seconds until the oldest count is forgotten."""
        self._ring[self._slot] += 1
        self.total += 1
        if self.total == 1:
            self._ends = (self._newest + SLICES + 1) * self._length
        return (self._ends - now + 999) // 1000

    def undo_hit(self) -> None:
        """Undoes one `add`, the latest."""
        for slice_ in range(self._newest, self._newest - SLICES - 1, -1):
            if self._ring[slice_ % (SLICES + 1)]:
                self._ring[slice_ % (SLICES + 1)] -= 1
                self.total -= 1
                self._update_end()
                return

    def reset(self, now: int) -> int:
        """Returns whole seconds until the oldest count is forgotten, 0 where there is none."""
        return (self._ends - now + 999) // 1000 if self.total else 0

    def _update_end(self) -> None:
        if self.total:
            oldest = self._newest - SLICES
            while not self._ring[oldest % (SLICES + 1)]:
                oldest += 1
            self._ends = (oldest + SLICES + 1) * self._length


class WindowTable:
    """Windows of *seconds* by key, in memory. A full table forgets the window that was unused for longest."""

    def __init__(self, seconds: int, capacity: int = CAPACITY) -> None:
        self._length = seconds * 1000 // SLICES
        self._capacity = capacity
        self._windows: OrderedDict[str, SlidingWindow] = OrderedDict()

    def __len__(self) -> int:
        return len(self._windows)

    def get(self, key: str, now: int) -> SlidingWindow | None:
        """Returns the window of *key* at *now*, in ms, or None."""
        window = self._windows.get(key)
        if window is not None:
            self._windows.move_to_end(key)
            if now >= window.until:
                window.advance(now)
        return window

    def get_or_create(self, key: str, now: int) -> SlidingWindow:
        """Returns the window of *key* at *now*, in ms."""
        window = self._windows.get(key)
        if window is None:
            return self._create(key, now)
        self._windows.move_to_end(key)
        if now >= window.until:
            window.advance(now)
        return window

    def _create(self, key: str, now: int) -> SlidingWindow:
        """Drops up to two empty windows for each new one, so that no call has to sweep all of them."""
        for other, oldest in list(islice(self._windows.items(), 2)):
            oldest.advance(now)
            if not oldest.total:
                del self._windows[other]
        if len(self._windows) >= self._capacity:
            self._windows.popitem(last=False)
        window = self._windows[key] = SlidingWindow(self._length, now)
        return window


class MemoryWindowStore:
    """Windows of this process alone. *clock* in seconds, monotonic. *capacity*: windows of each limit."""

    def __init__(self, clock: Callable[[], float], *, capacity: int = CAPACITY) -> None:
        self._clock = clock
        self._capacity = capacity
        self._tables: dict[tuple[str, int], WindowTable] = {}

    async def hit(self, hits: Sequence[WindowHit]) -> tuple[bool, Sequence[Remaining]]:
        now = int(self._clock() * 1000)
        counted: list[SlidingWindow] = []
        remaining: list[Remaining] = []
        for limit, key in hits:
            table = self._tables.get((limit.name, limit.seconds))
            window = (self._table(limit) if table is None else table).get_or_create(key, now)
            if window.total >= limit.amount:
                for earlier in counted:
                    earlier.undo_hit()
                return False, self._remaining(hits, now)
            counted.append(window)
            remaining.append((limit.amount - window.total - 1, window.hit(now)))
        return True, remaining

    def _remaining(self, hits: Sequence[WindowHit], now: int) -> Sequence[Remaining]:
        """Returns what each window has left, without counting."""
        windows = [(limit.amount, self._table(limit).get_or_create(key, now)) for limit, key in hits]
        return [(max(0, amount - window.total), window.reset(now)) for amount, window in windows]

    async def undo(self, hits: Sequence[WindowHit]) -> None:
        now = int(self._clock() * 1000)
        for limit, key in hits:
            if (window := self._table(limit).get(key, now)) is not None:
                window.undo_hit()

    def _table(self, limit: RateLimit) -> WindowTable:
        """Tiers of one limit may have windows of different lengths."""
        table = self._tables.get((limit.name, limit.seconds))
        if table is None:
            table = self._tables[limit.name, limit.seconds] = WindowTable(limit.seconds, self._capacity)
        return table

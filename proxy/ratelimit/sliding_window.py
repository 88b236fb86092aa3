"""Counting in sliding windows: the arithmetic, and its body in this process's memory.

A window of *w* seconds is counted in slices of *w* / SLICES. It is full while the current slice and the SLICES before
it hold the amount, so no *w* seconds, wherever they start, ever hold more. The price is that a count is forgotten up
to one slice late. The commoner sliding-window counter, which weighs the previous window as if it had been even, needs
two numbers and admits up to twice the amount around a burst at a window's end.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

SLICES = 10
CAPACITY = 50_000  # windows kept in memory for one bound, some 350 bytes each


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most *amount* in any *seconds*, under a *name* that is fit for response fields and store keys."""

    name: str
    amount: int
    seconds: int

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,31}", self.name):
            raise ValueError(f"{self.name!r} must be lower-case letters, digits and hyphens, 32 at most")
        if not (1 <= self.amount <= 10**9 and 1 <= self.seconds <= 10**9):
            raise ValueError(f"{self.name}: amount and seconds go from 1 to 10^9")


WindowHit = tuple[RateLimit, str]  # a bound, and the key of the one whose window it is
Remaining = tuple[int, int]  # how many are left now, and whole seconds until there are more (0: nothing is used)


class WindowStore(Protocol):
    """Tests all claims and, if every one has room, counts one in each: a single atomic step.

    Answers whether it was counted, and each claim's standing after it; a claim that refused has none left.
    Raises StoreAway.
    """

    async def hit(self, claims: Sequence[WindowHit]) -> tuple[bool, Sequence[Remaining]]: ...

    async def undo(self, claims: Sequence[WindowHit]) -> None:
        """Takes one request out of each claim's newest count. Raises StoreAway."""


class SlidingWindow:
    """Counts of the last SLICES + 1 slices in a ring; slices of *length* ms are numbered from the clock's zero."""

    __slots__ = ("_ends", "_length", "_newest", "_ring", "_slot", "total")

    def __init__(self, length: int, now: int) -> None:
        self._length = length
        self._newest = now // length
        self._slot = self._newest % (SLICES + 1)
        self._ring = [0] * (SLICES + 1)
        self._ends = 0  # the ms at which the oldest count is forgotten, while there is one
        self.total = 0

    def advance(self, now: int) -> None:
        """Forgets what is too old; *now* in ms of a clock that never steps back."""
        newest = now // self._length
        if newest == self._newest:
            return
        for at in range(max(self._newest, newest - SLICES - 1) + 1, newest + 1):
            self.total -= self._ring[at % (SLICES + 1)]
            self._ring[at % (SLICES + 1)] = 0
        self._newest = newest
        self._slot = newest % (SLICES + 1)
        self._look_for_the_oldest()

    def add(self) -> None:
        self._ring[self._slot] += 1
        self.total += 1
        if self.total == 1:
            self._ends = (self._newest + SLICES + 1) * self._length

    def undo_hit(self) -> None:
        """Undoes one `add`, the latest."""
        for slice_ in range(self._newest, self._newest - SLICES - 1, -1):
            if self._ring[slice_ % (SLICES + 1)]:
                self._ring[slice_ % (SLICES + 1)] -= 1
                self.total -= 1
                self._look_for_the_oldest()
                return

    def reset(self, now: int) -> int:
        """Whole seconds until the oldest count is forgotten, 0 where there is none."""
        return -((now - self._ends) // 1000) if self.total else 0

    def _look_for_the_oldest(self) -> None:
        if self.total:
            oldest = self._newest - SLICES
            while not self._ring[oldest % (SLICES + 1)]:
                oldest += 1
            self._ends = (oldest + SLICES + 1) * self._length


class WindowTable:
    """Windows of *seconds* by key, in memory. At most *capacity*: a full table forgets the one longest unused."""

    def __init__(self, seconds: int, capacity: int = CAPACITY) -> None:
        self._length = seconds * 1000 // SLICES
        self._capacity = capacity
        self._windows: OrderedDict[str, SlidingWindow] = OrderedDict()

    def __len__(self) -> int:
        return len(self._windows)

    def get(self, key: str, now: int) -> SlidingWindow | None:
        """The window of *key*, brought up to *now*."""
        window = self._windows.get(key)
        if window is not None:
            self._windows.move_to_end(key)
            window.advance(now)
        return window

    def get_or_create(self, key: str, now: int) -> SlidingWindow:
        window = self._windows.get(key)
        if window is None:
            return self._begin(key, now)
        self._windows.move_to_end(key)
        window.advance(now)
        return window

    def _begin(self, key: str, now: int) -> SlidingWindow:
        """For each window that comes two empty ones go, so that no call pays for a sweep of them all."""
        for other, oldest in list(islice(self._windows.items(), 2)):
            oldest.advance(now)
            if not oldest.total:
                del self._windows[other]
        if len(self._windows) >= self._capacity:
            self._windows.popitem(last=False)
        window = self._windows[key] = SlidingWindow(self._length, now)
        return window


class MemoryWindowStore:
    """The windows of this process alone. *clock* in seconds, monotonic."""

    def __init__(self, bounds: Iterable[RateLimit], clock: Callable[[], float], *, capacity: int = CAPACITY) -> None:
        self._clock = clock
        self._capacity = capacity
        self._counts: dict[str, WindowTable] = {}
        self._seconds: dict[str, int] = {}
        self.adopt(bounds)

    def adopt(self, bounds: Iterable[RateLimit]) -> None:
        """Takes the limits of a reload; the counts of a limit with the same name and length stay."""
        for bound in bounds:
            if self._seconds.get(bound.name) != bound.seconds:
                self._seconds[bound.name] = bound.seconds
                self._counts[bound.name] = WindowTable(bound.seconds, self._capacity)

    async def hit(self, claims: Sequence[WindowHit]) -> tuple[bool, Sequence[Remaining]]:
        now = int(self._clock() * 1000)
        admitted = True
        windows = []
        for bound, key in claims:
            window = self._counts[bound.name].get_or_create(key, now)
            admitted = admitted and window.total < bound.amount
            windows.append((bound.amount, window))
        standings = []
        for amount, window in windows:
            if admitted:
                window.add()
            standings.append((amount - window.total, window.reset(now)))
        return admitted, standings

    async def undo(self, claims: Sequence[WindowHit]) -> None:
        now = int(self._clock() * 1000)
        for bound, key in claims:
            if (window := self._counts[bound.name].get(key, now)) is not None:
                window.undo_hit()

"""Counting in sliding windows: the arithmetic, and its two bodies, this process's memory and a shared Redis.

A window of *w* seconds is counted in slices of *w* / SLICES. It is full while the current slice and the SLICES before
it hold the amount, so no *w* seconds, wherever they start, ever hold more. The price is that a count is forgotten up
to one slice late. The commoner sliding-window counter, which weighs the previous window as if it had been even, needs
two numbers and admits up to twice the amount around a burst at a window's end.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from proxy.errors import StoreAway
from proxy.store import RedisStore, Script

SLICES = 10
CAPACITY = 50_000  # windows kept in memory for one bound, some 350 bytes each


@dataclass(frozen=True, slots=True)
class Bound:
    """At most *amount* in any *seconds*, under a *name* that is fit for response fields and store keys."""

    name: str
    amount: int
    seconds: int

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,31}", self.name):
            raise ValueError(f"{self.name!r} must be lower-case letters, digits and hyphens, 32 at most")
        if not (1 <= self.amount <= 10**9 and 1 <= self.seconds <= 10**9):
            raise ValueError(f"{self.name}: amount and seconds go from 1 to 10^9")


Claim = tuple[Bound, str]  # a bound, and the key of the one whose window it is
Standing = tuple[int, int]  # how many are left now, and whole seconds until there are more (0: nothing is used)


class Windows(Protocol):
    """Tests all claims and, if every one has room, counts one in each: a single atomic step.

    Answers whether it was counted, and each claim's standing after it; a claim that refused has none left.
    Raises StoreAway.
    """

    async def take(self, claims: Sequence[Claim]) -> tuple[bool, Sequence[Standing]]: ...


class Window:
    """Counts of the last SLICES + 1 slices in a ring; slices of *length* ms are numbered from the clock's zero."""

    __slots__ = ("_length", "_newest", "_oldest", "_ring", "total")

    def __init__(self, length: int, now: int) -> None:
        self._length = length
        self._newest = self._oldest = now // length
        self._ring = [0] * (SLICES + 1)
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
        self._oldest = max(self._oldest, newest - SLICES)

    def add(self) -> None:
        self._ring[self._newest % (SLICES + 1)] += 1
        self.total += 1

    def reset(self, now: int) -> int:
        """Whole seconds until the oldest count is forgotten, 0 where there is none."""
        if not self.total:
            return 0
        while not self._ring[self._oldest % (SLICES + 1)]:
            self._oldest += 1
        return -((now - (self._oldest + SLICES + 1) * self._length) // 1000)


class Counts:
    """Windows of *seconds* by key, in memory. At most *capacity*: a full table forgets the one longest unused."""

    def __init__(self, seconds: int, capacity: int = CAPACITY) -> None:
        self._length = seconds * 1000 // SLICES
        self._capacity = capacity
        self._windows: OrderedDict[str, Window] = OrderedDict()

    def __len__(self) -> int:
        return len(self._windows)

    def find(self, key: str, now: int) -> Window | None:
        """The window of *key*, brought up to *now*."""
        window = self._windows.get(key)
        if window is not None:
            self._windows.move_to_end(key)
            window.advance(now)
        return window

    def at(self, key: str, now: int) -> Window:
        return self.find(key, now) or self._begin(key, now)

    def _begin(self, key: str, now: int) -> Window:
        """For each window that comes two empty ones go, so that no call pays for a sweep of them all."""
        for other, oldest in list(islice(self._windows.items(), 2)):
            oldest.advance(now)
            if not oldest.total:
                del self._windows[other]
        if len(self._windows) >= self._capacity:
            self._windows.popitem(last=False)
        window = self._windows[key] = Window(self._length, now)
        return window


class MemoryWindows:
    """The windows of this process alone. *clock* in seconds, monotonic."""

    def __init__(self, bounds: Iterable[Bound], clock: Callable[[], float], *, capacity: int = CAPACITY) -> None:
        self._clock = clock
        self._counts = {bound.name: Counts(bound.seconds, capacity) for bound in bounds}

    async def take(self, claims: Sequence[Claim]) -> tuple[bool, Sequence[Standing]]:
        now = int(self._clock() * 1000)
        windows = [(bound.amount, self._counts[bound.name].at(key, now)) for bound, key in claims]
        admitted = all(window.total < amount for amount, window in windows)
        if admitted:
            for _, window in windows:
                window.add()
        return admitted, [(amount - window.total, window.reset(now)) for amount, window in windows]


# A window is stored as "slice:count slice:count ...", oldest first. Counts from further ahead than a window were
# written before the server's clock was set back, and would never grow old.
_TAKE = Script("""
local SLICES = 10
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local admitted, windows = 1, {}
for i, stored in ipairs(redis.call('MGET', unpack(KEYS))) do
  local length = tonumber(ARGV[2 * i + 1])
  local window = {amount = tonumber(ARGV[2 * i]), length = length, slice = math.floor(now / length), total = 0}
  for slice, count in string.gmatch(stored or '', '(%d+):(%d+)') do
    if math.abs(slice - window.slice) <= SLICES then
      window[#window + 1] = {tonumber(slice), tonumber(count)}
      window.total = window.total + count
    end
  end
  if window.total >= window.amount then admitted = 0 end
  windows[i] = window
end
local reply = {admitted}
for i, window in ipairs(windows) do
  if admitted == 1 then
    local last = window[#window]
    if last and last[1] >= window.slice then
      last[2] = last[2] + 1
    else
      window[#window + 1] = {window.slice, 1}
    end
    window.total = window.total + 1
    local parts = {}
    for j, counted in ipairs(window) do parts[j] = counted[1] .. ':' .. counted[2] end
    redis.call('SET', KEYS[i], table.concat(parts, ' '), 'PX', window.length * (SLICES + 1))
  end
  local oldest = window[1]
  reply[#reply + 1] = math.max(0, window.amount - window.total)
  reply[#reply + 1] = oldest and math.ceil(((oldest[1] + SLICES + 1) * window.length - now) / 1000) or 0
end
return table.concat(reply, ' ')
""")


class RedisWindows:
    """The windows that all workers share: one script call a request, however many bounds there are.

    All keys carry the hash tag `{limits}`, so in a Redis Cluster one node counts for everybody: one atomic step needs
    one slot, and a request's user and address have none in common. Time is the server's, so that workers need not
    agree on it; a *clock* (seconds) takes its place in tests.
    """

    def __init__(self, store: RedisStore, clock: Callable[[], float] | None = None) -> None:
        self._store = store
        self._clock = clock

    async def take(self, claims: Sequence[Claim]) -> tuple[bool, Sequence[Standing]]:
        keys = [
            f"{{limits}}:{bound.name}:{bound.seconds}:{hashlib.sha256(key.encode()).hexdigest()}"
            for bound, key in claims
        ]
        args: list[int | str] = [int(self._clock() * 1000) if self._clock else ""]
        for bound, _ in claims:
            args += (bound.amount, bound.seconds * 1000 // SLICES)
        reply = await self._store.run(_TAKE, keys, args)
        if not isinstance(reply, bytes):
            raise StoreAway(reason="the limits script answered something else")
        admitted, *numbers = map(int, reply.split())
        return bool(admitted), list(zip(numbers[::2], numbers[1::2], strict=True))

"""Load limit of one process: the requests that it takes on at once. Pure.

What is under way may need a bounded time of this process, which is what the next request would wait (Little's law).
The time is the number of requests, times the CPU time of one, over the share of a CPU that this process gets. A timer
finds the share: where it comes late, either this process was busy, or others were.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from enum import Enum, auto

TICK = 0.025  # seconds
AT_ONCE = 64  # requests that run at once beside those that only wait: further ones start when these have ended
_LATE = 0.05  # seconds; a tick that is later tells what share of a CPU there is
_NEARLY_BUSY = 0.5  # of a tick's time in CPU time, from which a tick tells what a request costs
_FIRST_COST, _FIRST_COUNT = 0.0005, 100  # seconds for each of so many requests, before any was measured
_REMEMBERED = 400  # requests by which the cost is measured, half of which are forgotten each time
_SHARE_TIME = 0.25  # seconds that count as much as all before
_RECOVERY_TIME = 60.0  # seconds in time after which the share is taken for e times as large
_LEAST_SHARE = 0.01
_LEAST_LIMIT = 8.0
_BURST = 2  # times the limit, for so many seconds after a tick with less than half of it in flight
_BURST_TIME = 0.5
_STARVED = 2  # late ticks in a row without the CPU, from which there is none for a burst
_WINDOW = 0.2  # seconds
_CALM = 1.0  # seconds without a refusal after which the overload is over


class Rank(Enum):
    """Kinds of requests, in the order in which they are refused."""

    UNAUTHENTICATED = auto()
    POLL = auto()
    STREAM = auto()  # not counted while it is open
    RESULT = auto()
    SUBMIT = auto()
    KEPT = auto()  # cancels and health checks

    __hash__ = object.__hash__  # Enum's own is a function in Python


# Shares of the limit: of all requests in flight, and of those of the kind, all reads together. The last ones are more
# than 1 in all, so that each kind can use what others leave. The share of submits keeps polls from taking it all.
_OF_ALL = {Rank.UNAUTHENTICATED: 0.5, Rank.POLL: 1.0, Rank.STREAM: 1.05, Rank.RESULT: 1.1, Rank.SUBMIT: 1.25}
_OF_KIND = {Rank.UNAUTHENTICATED: 0.1, Rank.POLL: 0.6, Rank.STREAM: 0.65, Rank.RESULT: 0.7, Rank.SUBMIT: 0.5}
_UNCOUNTED = (Rank.KEPT, Rank.STREAM)
_LEAST_OF_ALL = min(_OF_ALL.values())


def ignore_change(_: bool) -> None:
    pass


class LoadLimit:
    """Limit of requests in flight: those that need *max_wait* seconds of this process.

    In a burst it is twice as many. Requests that only wait for others, as for fal, are not in flight; with them up to
    *floor* are always taken on. *on_change* is called when refusals begin, and some time after the last one.
    `begins_at` is the number of requests from which `refuses` must be called. `refused` counts by kind. `lag` is the
    least lag of the event loop in a short time.
    """

    def __init__(
        self, *, max_wait: float = 0.25, floor: float = 32, on_change: Callable[[bool], None] = ignore_change
    ) -> None:
        self.max_wait = max_wait
        self.floor = floor
        self.on_change = on_change
        self.most = self.begins_at = math.inf
        self.lag = 0.0
        self.refused: Counter[Rank] = Counter()
        self._reads = self._submits = 0  # in flight, of those that `enter` has counted
        self._cpu, self._count = _FIRST_COST * _FIRST_COUNT, float(_FIRST_COUNT)
        self._share = 1.0
        self._started = 0
        self._starved = 0  # late ticks in a row in which others had the CPU
        self._burst_until = math.inf
        self._least = math.inf
        self._window_start = 0.0
        self._refused_before = 0
        self._last_refusal = -math.inf
        self._is_shedding = False
        self._set_limit()

    @property
    def is_starved(self) -> bool:
        """True while ticks are late because others have the CPU."""
        return self._starved > 0

    @property
    def cost(self) -> float:
        """CPU time of a request in seconds."""
        return self._cpu / self._count

    def start(self) -> None:
        """Begins to observe, after a time without ticks."""
        self._starved = 0

    def observe(self, lag: float, now: float, *, cpu: float, answered: int, in_flight: int, unstarted: int = 0) -> None:
        """Takes one tick that was *lag* seconds late.

        *cpu* is the CPU time of the process since the tick before, *answered* the requests that have ended since.
        """
        elapsed, is_late = TICK + lag, lag > _LATE
        # A request that is half done counts half, and one that has not started counts nothing.
        started = max(0, in_flight - unstarted)
        done, self._started = answered + (started - self._started) / 2, started
        if not is_idle(lag, cpu):
            self._note_cost(cpu, max(0.0, done))
        self._note_share(elapsed, cpu, is_late=is_late)
        self._starved = self._starved + 1 if is_late and cpu < _NEARLY_BUSY * elapsed else 0
        if self._starved >= _STARVED:
            self._burst_until = now
        elif in_flight < self.begins_at:
            self._burst_until = now + _BURST_TIME
        self._set_limit(_BURST if now < self._burst_until else 1)
        self._note_lag(lag, now)
        self._note_refusals(now)

    def _note_share(self, elapsed: float, cpu: float, *, is_late: bool) -> None:
        """Takes the CPU time of a late tick as all there was, and that of one in time as the least there is."""
        share = min(1.0, cpu / elapsed)
        if is_late or share > self._share:
            self._share += (share - self._share) * elapsed / (elapsed + _SHARE_TIME)
        if not is_late:
            self._share *= 1 + elapsed / _RECOVERY_TIME
        self._share = min(1.0, max(_LEAST_SHARE, self._share))

    def _note_cost(self, cpu: float, done: float) -> None:
        self._cpu += cpu
        self._count += done
        if self._count > _REMEMBERED:
            self._cpu, self._count = self._cpu / 2, self._count / 2

    def _set_limit(self, times: float = _BURST) -> None:
        self.most = max(_LEAST_LIMIT, times * self.max_wait * self._share / max(self.cost, 1e-6))
        self.begins_at = self.most * _LEAST_OF_ALL

    def _note_lag(self, lag: float, now: float) -> None:
        self._least = min(self._least, lag)
        if now - self._window_start >= _WINDOW:
            self.lag, self._least, self._window_start = self._least, math.inf, now

    def _note_refusals(self, now: float) -> None:
        refused = self.refused.total()
        if refused > self._refused_before:
            self._refused_before, self._last_refusal = refused, now
        is_shedding = now - self._last_refusal < _CALM
        if is_shedding is not self._is_shedding:
            self._is_shedding = is_shedding
            self.on_change(is_shedding)

    def refuses(self, rank: Rank, in_flight: int, waiting: int = 0) -> bool:
        """Returns whether a request may not be processed beside *in_flight* others, and counts a refusal.

        *waiting*: requests that only wait for others, without open streams.
        """
        if rank is Rank.KEPT or in_flight < self.begins_at or in_flight + waiting < self.floor:
            return False
        same_kind: float = self._submits if rank is Rank.SUBMIT else self._reads
        if waiting:
            same_kind *= in_flight / (in_flight + waiting)
        if in_flight < self.most * _OF_ALL[rank] and same_kind < self.most * _OF_KIND[rank]:
            return False
        self.refused[rank] += 1
        return True

    def enter(self, rank: Rank) -> None:
        """Counts a request that is processed. See `leave`."""
        self._count_kind(rank, 1)

    def leave(self, rank: Rank) -> None:
        """Ends a request that `enter` has counted."""
        self._count_kind(rank, -1)

    def _count_kind(self, rank: Rank, change: int) -> None:
        if rank is Rank.SUBMIT:
            self._submits += change
        elif rank not in _UNCOUNTED:
            self._reads += change


def is_idle(lag: float, cpu: float) -> bool:
    """Returns whether a process had time left in a tick, *lag* seconds late, that took *cpu* seconds."""
    return lag <= _LATE and cpu <= _NEARLY_BUSY * (TICK + lag)

"""Gate of one process: the requests that it takes on while its event loop is late. Pure.

Every few ticks of a timer the least lag among them decides, as in CoDel (RFC 8289). A scheduler that stops the process
makes single ticks late; only a queue that does not empty makes all of them late. Besides, few requests in flight are no
overload, however late the loop is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from enum import Enum, auto

TICK = 0.025  # seconds
_WINDOW_TICKS, _WINDOW_SECONDS = 4, 0.2  # both at least
_CROWD, _CROWD_TICKS = 2, 3  # times the floor in flight; ticks that are enough then
_FIRST_CUT, _NEXT_CUT = 0.3, 0.7  # of the requests in flight or the limit, at least, in one window
_GROWTH = 4  # requests, in one window
_CALM = 1.0  # seconds with less than half of the limit in flight, after which there is none


class Rank(Enum):
    """Kinds of requests, in the order in which they are refused."""

    UNAUTHENTICATED = auto()
    POLL = auto()
    STREAM = auto()  # not counted while it is open
    RESULT = auto()
    SUBMIT = auto()
    KEPT = auto()  # cancels and health checks


# Shares of the limit: of all requests in flight, and of those of the kind, all reads together. The last ones are more
# than 1 in all, so that each kind can use what others leave. The share of submits keeps polls from taking it all.
_OF_ALL = {Rank.UNAUTHENTICATED: 0.5, Rank.POLL: 1.0, Rank.STREAM: 1.05, Rank.RESULT: 1.1, Rank.SUBMIT: 1.25}
_OF_KIND = {Rank.UNAUTHENTICATED: 0.1, Rank.POLL: 0.6, Rank.STREAM: 0.65, Rank.RESULT: 0.7, Rank.SUBMIT: 0.5}
_UNCOUNTED = (Rank.KEPT, Rank.STREAM)
_LEAST_SHARE = min(_OF_ALL.values())


def ignore_change(_: bool) -> None:
    pass


class LoadLimit:
    """Limit of requests in flight, which is infinite unless the event loop is late.

    It falls while the loop is later than *max_lag* seconds with more than *floor* requests in flight, and rises again.
    *on_change* is called when it begins and ceases to be finite. `begins_at` is the number of requests in flight from
    which `refuses` must be called. `refused` counts by kind.
    """

    def __init__(
        self, *, max_lag: float = 0.05, floor: float = 24, on_change: Callable[[bool], None] = ignore_change
    ) -> None:
        self.max_lag = max_lag
        self.floor = floor
        self.on_change = on_change
        self.most = self.begins_at = math.inf
        self.lag = 0.0
        self.refused: Counter[Rank] = Counter()
        self._reads = self._submits = 0  # in flight, of those that `enter` has counted
        self._least = math.inf
        self._ticks = 0
        self._window_start = 0.0
        self._last_pressure = 0.0

    def observe(self, lag: float, in_flight: int, now: float) -> None:
        """Takes the *lag* of one tick in seconds, and the requests *in_flight*, without open streams."""
        self._least = min(self._least, lag)
        self._ticks += 1
        # A crowd is noticed sooner: what is let in before must be waited for by all.
        is_crowd = self.most == math.inf and in_flight > _CROWD * self.floor and self._ticks >= _CROWD_TICKS
        if not is_crowd and (self._ticks < _WINDOW_TICKS or now - self._window_start < _WINDOW_SECONDS):
            return
        self.lag, self._least = self._least, math.inf
        self._ticks, self._window_start = 0, now
        if self.lag > self.max_lag and in_flight > self.floor:
            cut = max(_FIRST_CUT if self.most == math.inf else _NEXT_CUT, self.max_lag / self.lag)
            self._set(max(self.floor, min(self.most, in_flight) * cut))
        elif self.most < math.inf:
            self._relax(in_flight, now)

    def _relax(self, in_flight: int, now: float) -> None:
        if in_flight * 2 >= self.most:
            self._last_pressure = now
        if now - self._last_pressure > _CALM:
            self._set(math.inf)
        elif self.lag * 2 < self.max_lag:
            self._set(self.most + _GROWTH)

    def refuses(self, rank: Rank, in_flight: int) -> bool:
        """Returns whether a request may not be processed beside *in_flight* others, and counts a refusal."""
        if rank is Rank.KEPT:
            return False
        same_kind = self._submits if rank is Rank.SUBMIT else self._reads
        if in_flight < self.most * _OF_ALL[rank] and same_kind < self.most * _OF_KIND[rank]:
            return False
        self.refused[rank] += 1
        return True

    def enter(self, rank: Rank) -> None:
        """Counts a request that is processed. See `leave`."""
        self._count(rank, 1)

    def leave(self, rank: Rank) -> None:
        """Ends a request that `enter` has counted."""
        self._count(rank, -1)

    def _count(self, rank: Rank, change: int) -> None:
        if rank is Rank.SUBMIT:
            self._submits += change
        elif rank not in _UNCOUNTED:
            self._reads += change

    def _set(self, most: float) -> None:
        was_finite, self.most = self.most < math.inf, most
        self.begins_at = most * _LEAST_SHARE
        if was_finite is not (most < math.inf):
            self._last_pressure = self._window_start
            self.on_change(not was_finite)

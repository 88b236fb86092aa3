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
_SLOWEST_CUT = 0.7  # of the limit, in one window
_GROWTH, _GROWTH_STEP = 1.2, 4
_CALM = 1.0  # seconds without a refusal after which there is no limit


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
    which `admits` must be called. `refused` counts by kind.
    """

    def __init__(
        self, *, max_lag: float = 0.05, floor: float = 32, on_change: Callable[[bool], None] = ignore_change
    ) -> None:
        self.max_lag = max_lag
        self.floor = floor
        self.on_change = on_change
        self.most = self.begins_at = math.inf
        self.lag = 0.0
        self.refused: Counter[Rank] = Counter()
        self._reads = self._submits = 0  # in flight, of those that `admits` has counted
        self._least = math.inf
        self._ticks = 0
        self._window_start = 0.0
        self._last_refusal = 0.0

    def observe(self, lag: float, in_flight: int, now: float) -> None:
        """Takes the *lag* of one tick in seconds, and the requests *in_flight*, without open streams."""
        self._least = min(self._least, lag)
        self._ticks += 1
        if self._ticks < _WINDOW_TICKS or now - self._window_start < _WINDOW_SECONDS:
            return
        self.lag, self._least = self._least, math.inf
        self._ticks, self._window_start = 0, now
        if self.lag > self.max_lag and in_flight > self.floor:
            cut = max(_SLOWEST_CUT, self.max_lag / self.lag)
            self._set(max(self.floor, min(self.most, in_flight) * cut))
        elif self.most < math.inf:
            self._set(math.inf if now - self._last_refusal > _CALM else self.most * _GROWTH + _GROWTH_STEP)

    def admits(self, rank: Rank, in_flight: int, now: float) -> bool:
        """Returns whether a request may be processed beside *in_flight* others, and counts it. See `leave`."""
        if rank is Rank.KEPT:
            return True
        same_kind = self._submits if rank is Rank.SUBMIT else self._reads
        if in_flight >= self.most * _OF_ALL[rank] or same_kind >= self.most * _OF_KIND[rank]:
            self.refused[rank] += 1
            self._last_refusal = now
            return False
        self._count(rank, 1)
        return True

    def leave(self, rank: Rank) -> None:
        """Ends a request that `admits` has counted."""
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
            self._last_refusal = self._window_start
            self.on_change(not was_finite)

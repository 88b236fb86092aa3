"""History of one process: readings of growing counts, one a minute, for the last day. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from proxy.app.operator_page.report import Bars

MINUTE, DAY = 60, 86_400  # seconds
# Seconds of one bar and number of bars, by the name of the range.
RANGES: Final[Mapping[str, tuple[int, int]]] = {"hour": (MINUTE, 60), "day": (15 * MINUTE, 96)}
CLIENT_GONE = 499  # the caller left: neither a refusal nor a failure of ours


class Counts(NamedTuple):
    """Growing counts of a process: requests answered, refused and failed, and units committed."""

    answered: int = 0
    refused: int = 0
    failed: int = 0
    committed: float = 0.0


@dataclass(frozen=True, slots=True)
class Totals:
    """Requests of a process by status, and its refusals by error type."""

    statuses: Mapping[str, int]
    refusals: Mapping[str, int]

    def since(self, before: Totals) -> Totals:
        """Returns what was counted after *before*."""
        return Totals(
            _difference(self.statuses, before.statuses),
            _difference(self.refusals, before.refusals),
        )

    def counts(self, committed: float) -> Counts:
        """Returns the counts by class of status."""
        classes = [0, 0, 0]  # answered, refused, failed
        for status, count in self.statuses.items():
            classes[status_class(status)] += count
        answered, refused, failed = classes
        return Counts(answered, refused, failed, committed)


class History:
    """Readings of *read*, whose counts begin at 0 with the process. Times are in unix seconds."""

    def __init__(self, read: Callable[[], Totals]) -> None:
        self._read = read
        self._readings: deque[tuple[float, Counts]] = deque(maxlen=DAY // MINUTE + 1)
        self._day = -1
        self._before_today = Totals({}, {})
        self._committed: float | None = None  # units of the day at the last reading
        self._growth = 0.0  # of the committed units since the first reading, over all days

    def sample(self, now: float, committed: float | None) -> None:
        """Takes a reading. *committed* are the units of this day so far, None where they could not be read."""
        totals, day = self._read(), int(now // DAY)
        self._growth = self._grown(now, committed)
        if committed is not None:
            self._committed = committed
        elif day != self._day and self._committed is not None:
            self._committed = 0.0
        if day != self._day:
            self._before_today = Totals({}, {}) if self._day < 0 else totals
        self._day = day
        self._readings.append((now, totals.counts(self._growth)))

    def _grown(self, now: float, committed: float | None) -> float:
        """Returns the growth until now. What was spent before the first reading belongs to no bar."""
        if committed is None or self._committed is None:
            return self._growth
        return self._growth + committed - (self._committed if int(now // DAY) == self._day else 0.0)

    def today(self, now: float) -> Totals:
        """Returns what was counted since midnight (UTC), or since the start of the process."""
        totals = self._read()
        return totals if int(now // DAY) != self._day else totals.since(self._before_today)

    def bars(self, name: str, now: float, committed: float | None = None) -> Bars:
        """Returns the counts of each bar of a range, the oldest first. *committed*: see `sample`."""
        step, number = RANGES[name]
        last, readings = int(now // step), list(self._readings)
        starts = [_at(readings, (last - number + 1 + index) * step) for index in range(number)]
        pairs = list(zip(starts, [*starts[1:], self._read().counts(self._grown(now, committed))], strict=True))
        return Bars(
            end=last,
            answered=[after.answered - before.answered for before, after in pairs],
            refused=[after.refused - before.refused for before, after in pairs],
            failed=[after.failed - before.failed for before, after in pairs],
            # A refund is no negative bar.
            committed=[round(max(0.0, after.committed - before.committed), 6) for before, after in pairs],
        )


def _at(readings: Sequence[tuple[float, Counts]], time: float) -> Counts:
    """Returns the last reading until *time*; before the first one nothing was counted."""
    # A reading is taken some milliseconds after the full minute that it is for.
    found = bisect_right(readings, time + 1.0, key=lambda reading: reading[0])
    return readings[found - 1][1] if found else Counts()


def status_class(status: str) -> int:
    """Returns 0 for an answered request, 1 for a refused and 2 for a failed one."""
    code = int(status) if status.isdecimal() else 0
    return 2 if code >= 500 else 1 if code >= 400 and code != CLIENT_GONE else 0


def _difference(after: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    changes = {name: count - before.get(name, 0) for name, count in after.items()}
    return {name: count for name, count in changes.items() if count}

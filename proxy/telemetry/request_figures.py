"""Counts and durations of requests, by operation, endpoint and status."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from proxy.telemetry.access_record import AccessRecord
from proxy.telemetry.counters import Counter, Durations

MAX_KNOWN = 4_000  # combinations of labels whose series are remembered


@dataclass(slots=True)
class _Series:
    """Count of requests with one combination of labels, and the histograms of their times.

    Those of the wait for fal are there from the first wait on.
    """

    requests: list[int]
    durations: list[float]
    overhead: list[float] | None = None
    upstream: list[float] | None = None
    outcomes: dict[str, list[int]] = field(default_factory=dict)


class RequestFigures:
    """Counters of *requests* and of the *outcomes* of those to fal, and histograms of their times.

    All are looked up together, once for each request: that takes a third of separate look-ups.
    """

    def __init__(
        self, requests: Counter, outcomes: Counter, durations: Durations, overhead: Durations, upstream: Durations
    ) -> None:
        self.requests = requests
        self._outcomes = outcomes
        self._durations = durations
        self._overhead = overhead
        self._upstream = upstream
        self._known: dict[tuple[str, str, int], _Series] = {}

    def count(self, action: str, endpoint: str, record: AccessRecord, seconds: float) -> None:
        """Counts a request that took *seconds*. The wait for fal counts where there was one."""
        labels = (action, endpoint, record.status)
        series = self._known.get(labels)
        if series is None:
            series = self._open(labels)
        series.requests[0] += 1
        durations = series.durations
        durations[bisect_left(self._durations.bounds, seconds)] += 1
        durations[-1] += seconds
        if record.outcome is not None:
            outcome = series.outcomes.get(record.outcome)
            if outcome is None:
                name = str(record.outcome)
                outcome = series.outcomes[name] = self._outcomes.cell((action, endpoint, name))
            outcome[0] += 1
        if record.upstream_ms is not None:
            waited = record.upstream_ms / 1000
            upstream = series.upstream
            if upstream is None:
                upstream = series.upstream = self._upstream.series((action, endpoint))
            upstream[bisect_left(self._upstream.bounds, waited)] += 1
            upstream[-1] += waited
            if record.ended is None:  # a stream's own time is no overhead
                overhead = series.overhead
                if overhead is None:
                    overhead = series.overhead = self._overhead.series((action,))
                overhead[bisect_left(self._overhead.bounds, seconds - waited)] += 1
                overhead[-1] += seconds - waited

    def _open(self, labels: tuple[str, str, int]) -> _Series:
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        series = self._known[labels] = _Series(self.requests.cell(labels), self._durations.series(labels[:1]))
        return series

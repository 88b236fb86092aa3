"""Telemetry of requests: a line in the journal, and metrics for Prometheus."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from random import Random

from proxy.telemetry.access_record import AccessRecord, Waits
from proxy.telemetry.counters import Counter, Durations, Labels, label_values
from proxy.telemetry.families import Family, Merge, Sample, exposition, merged
from proxy.telemetry.json_log import JsonLogWriter
from proxy.telemetry.recent_requests import RecentRequests
from proxy.telemetry.request_figures import RequestFigures
from proxy.telemetry.request_line import Journaling, RequestLines
from proxy.telemetry.request_trace import RequestTrace

BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds
OVERHEAD_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
UPSTREAM_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0, 120.0)

Read = Callable[[], float]


class Telemetry:
    """Counts requests, and writes them to *log*. All names start with `fal_proxy_`.

    *clock* returns seconds and is monotonic. Labels are constants and listed endpoints, never a caller's text.
    """

    def __init__(
        self, log: JsonLogWriter, *, journaling: Journaling | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.active = 0
        self.waits = Waits()
        self.recent = RecentRequests()
        self.explains = False  # whether each request gets a trace for its caller
        self.lines = RequestLines(log, journaling or Journaling())
        self._ids = Random(os.urandom(32))  # noqa: S311
        self._counters: dict[str, Counter] = {}
        self._metrics: dict[str, Callable[[], Family]] = {}  # read at each scrape
        self._clock = clock
        self._refusals = self.events("refusals", "Requests refused, or failed, by error type.", "error_type")
        self._limits = self.events("limit_refusals", "Requests refused by a limit or a budget.", "kind", "name")
        self._would_deny = self.events(
            "would_deny", "Requests that a limit in observe mode would have refused.", "name"
        )
        self._figures = RequestFigures(
            self.events("requests", "Requests answered.", "action", "endpoint", "status"),
            self.events("upstream_outcomes", "Outcomes of requests to fal.", "action", "endpoint", "outcome"),
            self.histogram(
                "request_duration_seconds", "From the head of a request to the end of its response.", BUCKETS, "action"
            ),
            self.histogram(
                "overhead_seconds",
                "Duration of a forwarded request without the wait for fal.",
                *(OVERHEAD_BUCKETS, "action"),
            ),
            self.histogram(
                "upstream_duration_seconds",
                "Wait for fal, and for a connection to it; of a stream up to its head.",
                *(UPSTREAM_BUCKETS, "action", "endpoint"),
            ),
        )
        self.counter("log_lines_dropped", "Journal lines lost because the journal was full.", lambda: log.dropped)
        self.counter("log_lines_omitted", "Polls and health checks without a line.", lambda: self.lines.omitted)

    def open(self, method: str, path: bytes) -> AccessRecord:
        """Returns the record of a request that has arrived. *path* is as received, without its query."""
        self.active += 1
        # An id must be unique, not secret; randomness of the kernel would cost a system call a request.
        request_id = f"{self._ids.getrandbits(128):032x}"
        record = AccessRecord(request_id, method, path, self._clock, self.waits)
        if self.explains:
            record.trace = RequestTrace(self._clock)
        return record

    def close(self, record: AccessRecord) -> None:
        """Counts and logs a request. Called once, when its response is sent or given up."""
        self.active -= 1
        seconds = self._clock() - record.started
        action, endpoint = record.action or "none", record.endpoint or "none"
        self._figures.count(action, endpoint, record, seconds)
        if record.error_type is not None:
            self._refusals.add(record.error_type)
            for name in record.limit[1:]:
                self._limits.add(record.limit[0], name)
        for name in record.observed:
            self._would_deny.add(name)
        self.lines.write(record, action, seconds)
        self.recent.add(record, action, seconds)

    def statuses(self) -> dict[str, int]:
        """Returns the number of answered requests by status."""
        return self._figures.requests.sums("status")

    def refusals(self) -> dict[str, int]:
        """Returns the number of refused and failed requests by error type."""
        return self._refusals.sums("error_type")

    def events(self, name: str, documentation: str, *labels: str) -> Counter:
        """Returns the counter `fal_proxy_<name>_total` with *labels*, for events.

        It goes on counting where a reload asks for it again.
        """
        if name not in self._counters:
            counter = self._counters[name] = Counter(f"fal_proxy_{name}", documentation, labels)
            self._metrics[name] = counter.family
        return self._counters[name]

    def histogram(self, name: str, documentation: str, bounds: Sequence[float], *labels: str) -> Durations:
        """Returns the histogram `fal_proxy_<name>` with *labels*, in buckets with the upper *bounds*."""
        histogram = Durations(f"fal_proxy_{name}", documentation, labels, bounds)
        self._metrics[name] = histogram.family
        return histogram

    def count_early_rejections(self, error_type: str, count: int) -> None:
        """Counts requests and connections that the application has not seen."""
        self._refusals.add(error_type, count=count)

    def gauge(self, name: str, documentation: str, read: Read, *, merge: Merge = "sum") -> None:
        """Exposes the value of *read* at each scrape, as `fal_proxy_<name>`, in the place of an earlier one.

        *merge* makes one value of those of several workers.
        """
        self.gauges(name, documentation, (), lambda: [((), read())], merge=merge)

    def gauges(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        read: Callable[[], Iterable[tuple[Labels, float]]],
        *,
        merge: Merge = "sum",
    ) -> None:
        """Exposes values by *labels*. See `gauge`."""

        def family() -> Family:
            return Family(
                f"fal_proxy_{name}", "gauge", documentation, _samples("", labels, read()), merge, tuple(labels)
            )

        self._metrics[name] = family

    def counter(self, name: str, documentation: str, read: Read) -> None:
        """Exposes a total that only grows, as `fal_proxy_<name>_total`. See `gauge`."""
        self.counters(name, documentation, (), lambda: [((), read())])

    def counters(
        self, name: str, documentation: str, labels: Sequence[str], read: Callable[[], Iterable[tuple[Labels, float]]]
    ) -> None:
        """Exposes totals by *labels* that only grow, as `fal_proxy_<name>_total`.

        Where it replaces an earlier one, which a reload does, it goes on from there.
        """
        earlier = self._metrics.get(name)
        before = [] if earlier is None else [earlier()]

        def family() -> Family:
            samples = _samples("_total", labels, read())
            now = Family(f"fal_proxy_{name}", "counter", documentation, samples, labels=tuple(labels))
            return merged([before, [now]])[0] if before else now

        self._metrics[name] = family

    def families(self) -> list[Family]:
        """Returns all metrics as they are now."""
        return [read() for read in self._metrics.values()]

    def exposition(self) -> bytes:
        """Returns all metrics in the Prometheus text format 0.0.4."""
        return exposition(self.families())


def _samples(suffix: str, labels: Sequence[str], values: Iterable[tuple[Labels, float]]) -> tuple[Sample, ...]:
    return tuple((suffix, label_values(labels, names), value) for names, value in values)

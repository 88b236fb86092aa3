"""Telemetry of requests: a line in the log for each, and metrics for Prometheus."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from proxy.telemetry.access_record import AccessRecord, milliseconds
from proxy.telemetry.counters import Counter, Durations, Labels
from proxy.telemetry.json_log import JsonLogWriter
from proxy.telemetry.recent_requests import RecentRequests
from proxy.telemetry.request_trace import RequestTrace

BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds


class CallbackMetric(Collector):
    """A metric whose value is read by a function at each scrape."""

    def __init__(self, read: Callable[[], Metric]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        """Returns the current metric."""
        return [self._read()]


class Telemetry:
    """Counts requests in *registry* and writes them to *log*. All names start with `fal_proxy_`.

    *clock* returns seconds and is monotonic. Labels are constants and listed endpoints, never a caller's text.
    """

    def __init__(
        self, log: JsonLogWriter, registry: CollectorRegistry, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.active = 0
        self.recent = RecentRequests()
        self.explains = False  # whether each request gets a trace for its caller
        self._ids = Random(os.urandom(32))  # noqa: S311
        self._log = log
        self._registry = registry
        self._counters: dict[str, Counter] = {}
        self._callbacks: dict[str, Collector] = {}
        self._clock = clock
        self._requests = self._counter("requests", "Requests answered.", "action", "status")
        self._refusals = self._counter("refusals", "Requests refused, or failed.", "error_type")
        self._outcomes = self._counter(
            "upstream_outcomes", "Outcomes of requests to fal.", "action", "endpoint", "outcome"
        )
        self._would_deny = self._counter(
            "would_deny", "Requests that limits in observe mode would have refused.", "allowances"
        )
        self._durations = Durations(
            "fal_proxy_request_duration_seconds",
            "From the head of a request to the end of its response.",
            "action",
            BUCKETS,
        )
        registry.register(self._durations)
        self.counter("log_lines_dropped", "Log lines dropped because the log was full.", lambda: log.dropped)

    def open(self, method: str, path: bytes) -> AccessRecord:
        """Returns the record of a request that has arrived. *path* is as received, without its query."""
        self.active += 1
        # An id must be unique, not secret; randomness of the kernel would cost a system call a request.
        request_id = f"{self._ids.getrandbits(128):032x}"
        record = AccessRecord(request_id, method, path, self._clock)
        if self.explains:
            record.trace = RequestTrace(self._clock)
        return record

    def close(self, record: AccessRecord) -> None:
        """Counts and logs a request. Called once, when its response is sent or given up."""
        self.active -= 1
        seconds = self._clock() - record.started
        action = "none" if record.action is None else str(record.action)
        outcome = None if record.outcome is None else str(record.outcome)
        self._requests.add(action, record.status)
        self._durations.observe(action, seconds)
        if record.error_type is not None:
            self._refusals.add(record.error_type)
        would_deny = ", ".join(record.observed) or None
        if would_deny is not None:
            self._would_deny.add(would_deny)
        if outcome is not None:
            self._outcomes.add(action, record.endpoint or "none", outcome)
        self._log.write(
            {
                "event": "request",
                "request_id": record.request_id,
                "method": record.method,
                "path": record.path.decode("latin-1"),
                "action": action,
                "endpoint": record.endpoint,
                "caller": record.caller and record.caller[:16],
                "status": record.status,
                "error_type": record.error_type,
                "reason": record.reason,
                "outcome": outcome,
                "would_deny": would_deny,
                "upstream_ms": record.upstream_ms,
                "duration_ms": milliseconds(seconds),
                "response_bytes": record.response_bytes,
                **({} if record.ended is None else {"ended": record.ended}),
            }
        )
        self.recent.add(record, action, seconds)

    def statuses(self) -> dict[str, int]:
        """Returns the number of answered requests by status."""
        return self._requests.sums("status")

    def refusals(self) -> dict[str, int]:
        """Returns the number of refused and failed requests by error type."""
        return self._refusals.sums("error_type")

    def events(self, name: str, documentation: str, *labels: str) -> Counter:
        """Returns the counter `fal_proxy_<name>_total` with *labels*, for events that are not requests.

        It goes on counting where a reload asks for it again.
        """
        return self._counter(name, documentation, *labels)

    def count_early_rejection(self, error_type: str) -> None:
        """Counts a connection that ended before its request was complete.

        It gets no line, against floods of lines.
        """
        self._refusals.add(error_type)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        if name not in self._counters:
            self._counters[name] = Counter(f"fal_proxy_{name}", documentation, labels)
            self._registry.register(self._counters[name])
        return self._counters[name]

    def _expose(self, name: str, read: Callable[[], Metric]) -> None:
        """Registers a metric, in the place of an earlier one of that name."""
        if name in self._callbacks:
            self._registry.unregister(self._callbacks[name])
        self._callbacks[name] = CallbackMetric(read)
        self._registry.register(self._callbacks[name])

    def gauge(self, name: str, documentation: str, read: Callable[[], float]) -> None:
        """Exposes the value of *read* at each scrape, as `fal_proxy_<name>`."""
        self._expose(name, lambda: GaugeMetricFamily(f"fal_proxy_{name}", documentation, read()))

    def gauges(self, name: str, documentation: str, label: str, read: Callable[[], Mapping[str, float]]) -> None:
        """Exposes the values of *read* at each scrape, by the values of one label. See `gauge`."""

        def metric() -> Metric:
            family = GaugeMetricFamily(f"fal_proxy_{name}", documentation, labels=[label])
            for value, figure in read().items():
                family.add_metric([value], figure)
            return family

        self._expose(name, metric)

    def counters(
        self, name: str, documentation: str, labels: Sequence[str], read: Callable[[], Iterable[tuple[Labels, int]]]
    ) -> None:
        """Exposes totals by *labels* that only grow, as `fal_proxy_<name>_total`. See `gauge`."""

        def metric() -> Metric:
            family = CounterMetricFamily(f"fal_proxy_{name}", documentation, labels=labels)
            for values, count in read():
                family.add_metric([str(value) for value in values], count)
            return family

        self._expose(name, metric)

    def counter(self, name: str, documentation: str, read: Callable[[], float]) -> None:
        """Exposes a total that only grows, as `fal_proxy_<name>_total`. See `gauge`."""
        self._expose(name, lambda: CounterMetricFamily(f"fal_proxy_{name}", documentation, read()))

    def exposition(self) -> bytes:
        """Returns all metrics in the Prometheus text format 0.0.4."""
        return generate_latest(self._registry)

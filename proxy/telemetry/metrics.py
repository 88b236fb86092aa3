"""What is told of each request: one line in the journal, and counts for Prometheus."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from random import Random

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from proxy.telemetry.access_record import AccessRecord, milliseconds
from proxy.telemetry.counters import Counter, Durations
from proxy.telemetry.json_log import JsonLogWriter

BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds


class CallbackMetric(Collector):
    """A metric that is read where it lives, at every scrape."""

    def __init__(self, read: Callable[[], Metric]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        return [self._read()]


class Telemetry:
    """Writes to *journal* and counts in *registry*; *clock* in seconds, monotonic. All names start with `fal_proxy_`.

    Labels hold our own constants and listed endpoints, never a caller's text.
    """

    def __init__(
        self, journal: JsonLogWriter, registry: CollectorRegistry, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.active = 0
        self._ids = Random(os.urandom(32))  # noqa: S311
        self._journal = journal
        self._registry = registry
        self._clock = clock
        self._requests = self._counter("requests", "Requests answered.", "action", "status")
        self._refusals = self._counter("refusals", "Requests refused, or failed.", "error_type")
        self._outcomes = self._counter(
            "upstream_outcomes", "What became of requests to fal.", "action", "endpoint", "outcome"
        )
        self._would_deny = self._counter(
            "would_deny", "What allowances in observe mode would have refused.", "allowances"
        )
        self._durations = Durations(
            "fal_proxy_request_duration_seconds",
            "From the head of a request to the end of its answer.",
            "action",
            BUCKETS,
        )
        registry.register(self._durations)
        self.counter("log_lines_dropped", "Log lines lost because nobody read them.", lambda: journal.dropped)

    def open(self, method: str, path: bytes) -> AccessRecord:
        """*path* as it came on the wire, without its query."""
        self.active += 1
        # An id is to be unique, not secret; the kernel's randomness would cost a system call a request.
        request_id = f"{self._ids.getrandbits(128):032x}"
        return AccessRecord(request_id, method, path, self._clock)

    def close(self, record: AccessRecord) -> None:
        """To be called once, when all of the answer is sent or given up."""
        self.active -= 1
        seconds = self._clock() - record.started
        action = "none" if record.action is None else str(record.action)
        outcome = None if record.outcome is None else str(record.outcome)
        self._requests.add(action, record.status)
        self._durations.observe(action, seconds)
        if record.error_type is not None:
            self._refusals.add(record.error_type)
        if record.would_deny is not None:
            self._would_deny.add(record.would_deny)
        if outcome is not None:
            self._outcomes.add(action, record.endpoint or "none", outcome)
        self._journal.write(
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
                "would_deny": record.would_deny,
                "upstream_ms": record.upstream_ms,
                "duration_ms": milliseconds(seconds),
                "response_bytes": record.response_bytes,
                **({} if record.ended is None else {"ended": record.ended}),
            }
        )

    def count_early_rejection(self, error_type: str) -> None:
        """Counts what ended before it was a request: no line, since a flood of them would be one of lines."""
        self._refusals.add(error_type)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        tally = Counter(f"fal_proxy_{name}", documentation, labels)
        self._registry.register(tally)
        return tally

    def gauge(self, name: str, documentation: str, read: Callable[[], float]) -> None:
        """Exposes what *read* says at each scrape, as `fal_proxy_<name>`."""
        self._registry.register(CallbackMetric(lambda: GaugeMetricFamily(f"fal_proxy_{name}", documentation, read())))

    def counter(self, name: str, documentation: str, read: Callable[[], float]) -> None:
        """As `gauge`, for a total that only grows: `fal_proxy_<name>_total`."""
        self._registry.register(CallbackMetric(lambda: CounterMetricFamily(f"fal_proxy_{name}", documentation, read())))

    def exposition(self) -> bytes:
        """All metrics in the Prometheus text format 0.0.4."""
        return generate_latest(self._registry)

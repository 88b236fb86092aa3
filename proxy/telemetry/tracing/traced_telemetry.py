"""Telemetry that ends the span of a request with its record."""

from __future__ import annotations

from proxy.telemetry.access_record import AccessRecord
from proxy.telemetry.metrics import Telemetry
from proxy.telemetry.tracing.spans import CURRENT


class TracedTelemetry(Telemetry):
    """Telemetry of a process with traces. The span is the one of the request that the task serves."""

    def close(self, record: AccessRecord) -> None:
        super().close(record)
        span = CURRENT.get()
        if span is not None:
            span.end(record)

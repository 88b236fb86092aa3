"""Record of one request for the access log and the metrics."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from types import TracebackType

from proxy.errors import Refusal
from proxy.telemetry.request_trace import RequestTrace, Step

RECORD = "proxy.record"  # key of an AccessRecord in the ASGI scope of the pages beside the gateway


class Waits:
    """Number of requests that only wait for fal, or for another request; context manager around each wait."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> None:
        self.count += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.count -= 1


class AccessRecord:
    """Facts of one request for the log. None of them may be a secret, a token or a prompt.

    *caller* is a caller's key, *address* the client's. *endpoint* is a listed endpoint, *asked* one that was refused.
    *job* is the ledger's name of a job. *limit* is the kind of limits that refused and their names. *upstream_ms* is
    the wait for fal, *ended* the reason for the end of a stream. *observed* names the limits in observe mode that had
    no room. *trace* has the steps, and is None where it is not wanted. *waits* counts the requests of the process that
    only wait.

    *seconds*, the whole time, is known at the end.
    """

    __slots__ = (
        "action",
        "address",
        "asked",
        "caller",
        "clock",
        "ended",
        "endpoint",
        "error_type",
        "job",
        "limit",
        "method",
        "observed",
        "outcome",
        "path",
        "reason",
        "request_id",
        "response_bytes",
        "seconds",
        "started",
        "status",
        "trace",
        "upstream_ms",
        "waits",
    )

    def __init__(
        self, request_id: str, method: str, path: bytes, clock: Callable[[], float], waits: Waits | None = None
    ) -> None:
        self.request_id = request_id
        self.method = method
        self.path = path
        self.clock = clock
        self.started = clock()
        self.waits = waits or Waits()
        self.action: str | None = None
        self.endpoint: str | None = None
        self.asked: str | None = None
        self.job: str | None = None
        self.caller: str | None = None
        self.address: str | None = None
        self.limit: tuple[str, ...] = ()
        self.status = 0
        self.error_type: str | None = None
        self.reason: str | None = None
        self.outcome: str | None = None
        self.observed: tuple[str, ...] = ()
        self.upstream_ms: float | None = None
        self.response_bytes = 0
        self.seconds = 0.0
        self.ended: str | None = None
        self.trace: RequestTrace | None = None

    def enter(self, step: Step, note: str = "") -> None:
        """Begins *step* in the trace, if there is one."""
        if self.trace is not None:
            self.trace.enter(step, note)

    def record_refusal(self, refusal: Refusal) -> None:
        """Records the status, the type and the reason of *refusal*."""
        self.status = refusal.status
        self.error_type = refusal.error_type
        self.reason = refusal.reason
        self.limit = refusal.limit
        if self.trace is not None:
            self.trace.record_refusal(refusal.error_type)

    def record_failure(self, error: BaseException) -> None:
        """Records a defect: the error and its frames, innermost first, cut to the length of a log value."""
        frames = reversed(traceback.extract_tb(error.__traceback__))
        places = [f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in frames]
        self.error_type = "internal_error"
        self.reason = f"{type(error).__name__}: {error}"[:160] + f" ({' < '.join(places)})"

    def upstream_clock(self) -> UpstreamClock:
        """Returns a context manager for the wait for fal, which also counts a wait that ends with an error."""
        return UpstreamClock(self)


class UpstreamClock:
    """Stop watch of the wait for fal; adds it to an access record."""

    __slots__ = ("_record", "_started")

    def __init__(self, record: AccessRecord) -> None:
        self._record = record
        self._started = 0.0

    def __enter__(self) -> None:
        self._started = self._record.clock()
        self._record.waits.count += 1
        self._record.enter("relay")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._record.waits.count -= 1
        self._record.upstream_ms = milliseconds(self._record.clock() - self._started)


def milliseconds(seconds: float) -> float:
    """Converts *seconds*, rounded to a tenth of a millisecond."""
    return round(seconds * 1000, 1)

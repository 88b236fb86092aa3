"""Open spans: of the request that this task serves, and of one call to fal."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from types import TracebackType
from typing import Self

from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode, set_span_in_context

from proxy.telemetry.access_record import AccessRecord
from proxy.telemetry.tracing.attributes import call_failure, failure, record_attributes


class RequestSpan:
    """Server span of one request. It ends once."""

    __slots__ = ("_shows_callers", "_span", "has_ended")

    def __init__(self, span: Span, *, shows_callers: bool) -> None:
        self._span = span
        self._shows_callers = shows_callers
        self.has_ended = False

    @property
    def context(self) -> Context:
        """Parent of the calls to fal."""
        return set_span_in_context(self._span, Context())

    def end(self, record: AccessRecord | None) -> None:
        """Ends the span with what *record* has of the request."""
        if self.has_ended:
            return
        self.has_ended = True
        if record is not None and self._span.is_recording():
            if record.action is not None:
                self._span.update_name(record.action)
            self._span.set_attributes(record_attributes(record, shows_callers=self._shows_callers))
            if failure(record) is not None:
                self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


# A task that is started for a request has a copy, which may outlive the request.
CURRENT: ContextVar[RequestSpan | None] = ContextVar("request_span", default=None)


class CallSpan:
    """Client span of one call to fal, for a `with` block. An error in the block is its end."""

    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span = span

    def answered(self, status: int) -> None:
        """Records the status of fal's answer."""
        self._span.set_attribute("http.response.status_code", status)
        error_type = call_failure(status)
        if error_type is not None:
            self._fail(error_type)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            self._span.set_attribute("fal_proxy.cancelled", True)
        elif kind is not None:
            self._fail(kind.__name__)  # its text may quote what was sent
        self._span.end()

    def _fail(self, error_type: str) -> None:
        self._span.set_attribute("error.type", error_type)
        self._span.set_status(Status(StatusCode.ERROR))

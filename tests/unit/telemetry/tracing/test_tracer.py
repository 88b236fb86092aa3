"""Tests of spans without a network: a caller's context, and calls and requests that end badly."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import get_current_span
from starlette.types import Message, Receive, Scope, Send

from proxy.errors import DeadlineExceeded
from proxy.telemetry.tracing.middleware import TracingMiddleware
from proxy.telemetry.tracing.spans import CURRENT
from proxy.telemetry.tracing.tracer import MAX_TRACE_STATE, Tracer, TraceSettings, caller_context

TRACE = b"4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = b"00-" + TRACE + b"-00f067aa0ba902b7-01"
SETTINGS = TraceSettings("https://app.example.com", "/api/fal")
SCOPE = {"type": "http", "method": "GET", "path": "/api/fal/usage", "headers": []}


def is_accepted(*headers: tuple[bytes, bytes]) -> bool:
    return get_current_span(caller_context(headers)).get_span_context().is_valid


@pytest.mark.parametrize(
    "value",
    [b"", b"canary", PARENT[:-1], b"ff" + PARENT[2:], PARENT.replace(TRACE, b"0" * 32), PARENT + b"-x", b"\xff" * 55],
)
def test_a_malformed_context_begins_a_trace(value: bytes) -> None:
    """A `traceparent` that W3C's grammar does not have is not used, and refuses nothing."""
    assert is_accepted((b"traceparent", PARENT))
    assert not is_accepted((b"traceparent", value))


def test_two_contexts_are_none() -> None:
    """Of two `traceparent` fields neither is the one."""
    assert not is_accepted((b"traceparent", PARENT), (b"traceparent", PARENT))


def test_a_long_state_is_left_out() -> None:
    """Several `tracestate` fields are one list, and one of more than 512 characters is dropped."""

    def state(*values: bytes) -> str:
        headers = [(b"traceparent", PARENT), *((b"tracestate", value) for value in values)]
        return get_current_span(caller_context(headers)).get_span_context().trace_state.to_header()

    assert state(b"a=1", b"b=2") == "a=1,b=2"
    assert state(b"a=" + b"x" * MAX_TRACE_STATE) == ""


async def ended(tracer: Tracer, exporter: InMemorySpanExporter) -> tuple[ReadableSpan, ...]:
    await tracer.aclose()
    return exporter.get_finished_spans()


async def test_a_call_after_its_request_has_a_trace_of_its_own() -> None:
    """A task that outlives its request, such as a probe of fal, does not grow the request's trace."""
    exporter = InMemorySpanExporter()
    tracer = Tracer(SETTINGS, exporter=exporter)
    request = tracer.open_request(SCOPE)
    token = CURRENT.set(request)
    with tracer.open_call("GET", "https://queue.fal.run", "/fal-ai/x") as call:
        call.answered(200)
    request.end(None)
    with tracer.open_call("GET", "https://queue.fal.run", "/fal-ai/x"):
        pass
    CURRENT.reset(token)
    first, server, later = await ended(tracer, exporter)

    assert first.parent is not None
    assert server.context is not None
    assert first.parent.span_id == server.context.span_id
    assert later.parent is None


async def test_an_error_of_a_call_is_shown_by_its_kind_alone() -> None:
    """The text of an error may quote what was sent; a caller that left is no error."""
    exporter = InMemorySpanExporter()
    tracer = Tracer(SETTINGS, exporter=exporter)
    for error in (DeadlineExceeded("canary", sent=True, received=False), asyncio.CancelledError("canary")):
        with pytest.raises(type(error)), tracer.open_call("GET", "https://queue.fal.run", "/fal-ai/x"):
            raise error
    late, left = await ended(tracer, exporter)

    assert late.attributes is not None
    assert left.attributes is not None
    assert (late.attributes["error.type"], late.status.is_ok) == ("DeadlineExceeded", False)
    assert (left.attributes["fal_proxy.cancelled"], left.status.is_ok) == (True, True)
    assert "canary" not in late.to_json() + left.to_json()


async def test_a_request_whose_record_was_never_closed_has_a_span() -> None:
    """The span of a request ends with the application, whatever it raises; other scopes have none."""
    exporter = InMemorySpanExporter()
    tracer = Tracer(SETTINGS, exporter=exporter)

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("broken")

    async def receive() -> Message:
        return {}

    async def send(message: Message) -> None: ...

    app = TracingMiddleware(broken, lambda: tracer)
    for scope in (SCOPE, {"type": "lifespan"}, {**SCOPE, "path": "/sub/healthz", "root_path": "/sub"}):
        with pytest.raises(RuntimeError, match="broken"):
            await app(scope, receive, send)
    (span,) = await ended(tracer, exporter)

    assert span.name == "GET /api/fal/usage"
    assert CURRENT.get() is None


async def test_a_stop_waits_for_no_dead_exporter() -> None:
    """A flush that takes longer than two seconds is given up, and the exporter is shut down."""
    import threading

    class Stuck(InMemorySpanExporter):
        stopped = threading.Event()

        def export(self, spans: object) -> object:  # type: ignore[override]
            return self.stopped.wait(20)

        def shutdown(self) -> None:
            self.stopped.set()

    tracer = Tracer(SETTINGS, exporter=Stuck())
    tracer.open_request(SCOPE).end(None)
    async with asyncio.timeout(10):
        await tracer.aclose()

    assert Stuck.stopped.is_set()

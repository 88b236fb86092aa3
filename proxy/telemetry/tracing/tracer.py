"""Tracer of one process: spans of requests and calls, exported over OTLP/HTTP by a thread.

It needs the extra `otel`. Nothing of a trace is sent to fal: no code here or elsewhere writes a `traceparent`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import Scope

from proxy import __version__
from proxy.telemetry.tracing.attributes import call_attributes, call_name, request_name, server_attributes
from proxy.telemetry.tracing.sampler import CallerContext, request_sampler
from proxy.telemetry.tracing.spans import CURRENT, CallSpan, RequestSpan

SERVICE = "fal-auth-proxy"
FLUSH_SECONDS = 2.0  # that a stop waits for the collector
MAX_TRACE_STATE = 512  # characters; a longer `tracestate` may be left out (W3C Trace Context section 3.3.1.5)
_TRACE_PATH = "/v1/traces"
_PROPAGATOR = TraceContextTextMapPropagator()


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """Choices of the operator.

    *origin* is the public one. *endpoint* is the collector's base address, None for the one of the environment.
    """

    origin: str
    prefix: str
    endpoint: str | None = None
    sample_ratio: float = 1.0
    caller_context: CallerContext = "parent"
    shows_callers: bool = False


class Tracer:
    """Opens spans. A full queue or a dead collector loses spans, and holds up no request.

    *exporter* takes the place of the one for OTLP.
    """

    def __init__(self, settings: TraceSettings, *, exporter: SpanExporter | None = None) -> None:
        self._settings = settings
        self._exporter = exporter or OTLPSpanExporter(endpoint=_traces_url(settings.endpoint))
        # Its own stop at the exit of the process would wait up to 30 s for a dead collector.
        self._provider = TracerProvider(
            sampler=request_sampler(settings.sample_ratio, settings.caller_context),
            resource=_resource(),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer(SERVICE, __version__)

    def open_request(self, scope: Scope) -> RequestSpan:
        """Opens the span of a request that has arrived. Its operation and facts follow at its end."""
        settings = self._settings
        has_parent = settings.caller_context != "ignore"
        attributes = server_attributes(scope["method"], scope["path"], prefix=settings.prefix, origin=settings.origin)
        span = self._tracer.start_span(
            request_name(attributes),
            context=caller_context(scope["headers"]) if has_parent else Context(),
            kind=SpanKind.SERVER,
            attributes=attributes,
        )
        return RequestSpan(span, shows_callers=settings.shows_callers)

    def open_call(self, method: str, origin: str, path: str) -> CallSpan:
        """Opens the span of a call to fal. One outside of a request under way has a trace of its own."""
        request = CURRENT.get()
        span = self._tracer.start_span(
            call_name(method, path),
            context=Context() if request is None or request.has_ended else request.context,
            kind=SpanKind.CLIENT,
            attributes=call_attributes(method, origin, path),
        )
        return CallSpan(span)

    async def aclose(self) -> None:
        """Sends what is left, for FLUSH_SECONDS at most."""
        loop = asyncio.get_running_loop()
        flushed = asyncio.Event()

        def flush() -> None:
            self._provider.shutdown()
            if not loop.is_closed():
                loop.call_soon_threadsafe(flushed.set)

        # A daemon, since an executor's thread would be waited for at the exit of the process.
        threading.Thread(target=flush, name="trace-flush", daemon=True).start()
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await flushed.wait()
        except TimeoutError:
            self._exporter.shutdown()


def caller_context(headers: Sequence[tuple[bytes, bytes]]) -> Context:
    """Returns the context of a W3C `traceparent` and `tracestate`, an empty one where they are malformed."""
    parents = [value for name, value in headers if name == b"traceparent"]
    if len(parents) != 1:
        return Context()
    carrier = {"traceparent": parents[0].decode("latin-1")}
    state = ",".join(value.decode("latin-1") for name, value in headers if name == b"tracestate")
    if state and len(state) <= MAX_TRACE_STATE:
        carrier["tracestate"] = state
    return _PROPAGATOR.extract(carrier, Context())


def _traces_url(endpoint: str | None) -> str | None:
    if endpoint is None or endpoint.endswith(_TRACE_PATH):
        return endpoint
    return endpoint.rstrip("/") + _TRACE_PATH


def _resource() -> Resource:
    """Returns what identifies this process. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES add to it."""
    resource = Resource.create({"service.version": __version__, "service.instance.id": str(uuid4())})
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: SERVICE}))
    return resource

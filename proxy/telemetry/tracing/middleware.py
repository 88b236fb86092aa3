"""ASGI middleware around the gateway that opens and ends the span of each request."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.telemetry.tracing.spans import CURRENT

if TYPE_CHECKING:
    from proxy.telemetry.tracing.tracer import Tracer

_HEALTH = frozenset({"/healthz", "/readyz"})


class TracingMiddleware:
    """Opens the span of each request but probes; *tracer* returns the tracer of now.

    The request's record, which TracedTelemetry closes, ends the span.
    """

    def __init__(self, app: ASGIApp, tracer: Callable[[], Tracer | None]) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        tracer = self._tracer()
        if tracer is None or scope["type"] != "http" or _is_probe(scope):
            await self._app(scope, receive, send)
            return
        span = tracer.open_request(scope)
        token = CURRENT.set(span)
        try:
            await self._app(scope, receive, send)
        finally:
            CURRENT.reset(token)
            span.end(None)


def _is_probe(scope: Scope) -> bool:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "").rstrip("/")) in _HEALTH

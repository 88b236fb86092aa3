"""HTTP client that opens a span for each request it sends.

The request itself has nothing of the trace.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Protocol

from proxy.http.client.client import HttpClient, UpstreamStream
from proxy.http.client.messages import UpstreamRequest, UpstreamResponse
from proxy.http.origin import Origin


class CallSpan(Protocol):
    """Span of one call, open for a `with` block."""

    def answered(self, status: int) -> None: ...


class CallTracer(Protocol):
    """Source of spans for calls."""

    def open_call(self, method: str, origin: str, path: str) -> AbstractContextManager[CallSpan]: ...


class TracedClient(HttpClient):
    """HttpClient whose calls have spans by *tracer*. That of a stream lasts until its reader leaves."""

    def __init__(
        self,
        origin: Origin,
        *,
        tracer: CallTracer,
        tls: ssl.SSLContext | None,
        max_connections: int,
        reserve: int,
        connect_timeout: float,
    ) -> None:
        super().__init__(
            origin, tls=tls, max_connections=max_connections, reserve=reserve, connect_timeout=connect_timeout
        )
        self._tracer = tracer
        self._origin = f"{origin.scheme}://{origin.authority.decode('ascii')}"

    async def fetch(
        self, request: UpstreamRequest, *, timeout: float, max_body: int, reserved: bool = False
    ) -> UpstreamResponse:
        with self._open(request) as span:
            response = await super().fetch(request, timeout=timeout, max_body=max_body, reserved=reserved)
            span.answered(response.status)
            return response

    @asynccontextmanager
    async def stream(
        self, request: UpstreamRequest, *, timeout_head: float, timeout_idle: float = 90.0
    ) -> AsyncIterator[UpstreamStream]:
        opened = super().stream(request, timeout_head=timeout_head, timeout_idle=timeout_idle)
        with self._open(request) as span:
            async with opened as source:
                span.answered(source.status)
                yield source

    def _open(self, request: UpstreamRequest) -> AbstractContextManager[CallSpan]:
        return self._tracer.open_call(request.method.decode("ascii"), self._origin, request.path.decode("ascii"))

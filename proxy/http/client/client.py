"""HTTP/1.1 client of the hot path: one origin, a bounded pool, no redirects and no retries.

It is our own because of paid submits. Their outcome depends on whether a byte was written to the socket, and on whether
a byte of a response arrived. Client libraries do not report that. `bench/clients.py` compares the costs.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from proxy.http.client.connect import dial
from proxy.http.client.connection import Connection
from proxy.http.client.messages import UpstreamRequest, UpstreamResponse
from proxy.http.client.pool import Pool
from proxy.http.fields import Fields
from proxy.http.origin import Origin

_LARGE = 64 * 1024  # bytes of a body; below it a copy costs less than a second write


class UpstreamStream:
    """Response whose content is read as it comes: `async for chunk in stream`, once.

    Nothing is read from the socket beyond a small buffer before the next chunk is wanted.
    """

    __slots__ = ("_connection", "_timeout_idle", "headers", "status")

    def __init__(self, status: int, headers: Fields, connection: Connection, timeout_idle: float) -> None:
        self.status = status
        self.headers = headers
        self._connection = connection
        self._timeout_idle = timeout_idle

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._connection.read(asyncio.get_running_loop().time() + self._timeout_idle)
        if not chunk:
            raise StopAsyncIteration
        return chunk


class HttpClient:
    """Client of one origin. Raises TransportErrors. Durations are in seconds, sizes in bytes.

    Cancelling a call closes its connection at once.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        tls: ssl.SSLContext | None,
        max_connections: int = 100,
        reserve: int = 0,
        connect_timeout: float = 5.0,
        acquire_timeout: float = 1.0,
        max_idle: float = 4.0,  # below 5 s, a common keep-alive of servers: they must not close first
        max_head: int = 65536,
    ) -> None:
        if (origin.scheme == "https") != (tls is not None):
            raise ValueError("https needs a TLS context, http takes none")
        self._authority = origin.authority

        async def connect() -> Connection:
            return await dial(Connection(max_head=max_head), origin.host, origin.port, tls=tls)

        self._pool = Pool(
            connect,
            size=max_connections,
            reserve=reserve,
            connect_timeout=connect_timeout,
            acquire_timeout=acquire_timeout,
            max_idle=max_idle,
        )

    @property
    def active(self) -> int:
        """Exchanges under way, those connecting included."""
        return self._pool.active

    @property
    def idle(self) -> int:
        """Connections kept for the next exchange."""
        return self._pool.idle

    @property
    def slots(self) -> int:
        """Exchanges that may be under way at once."""
        return self._pool.size

    @property
    def waiting(self) -> int:
        """Requests that wait for a connection."""
        return self._pool.waiting

    @property
    def waits(self) -> int:
        """Requests that had to wait for a connection, so far."""
        return self._pool.waits

    @property
    def connects(self) -> int:
        """Connections opened so far."""
        return self._pool.connects

    async def fetch(
        self, request: UpstreamRequest, *, timeout: float, max_body: int, reserved: bool = False
    ) -> UpstreamResponse:
        """Sends a request and reads its whole response.

        *timeout* runs from the wait for a connection to the last byte of the response.

        *reserved* gives the request the share of the pool that no other may use.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        idle = self._pool.acquire_idle(reserved=reserved)
        connection = await self._pool.acquire(deadline, reserved=reserved) if idle is None else idle
        try:
            self._send(connection, request)
            status, headers, body = await connection.read_response(deadline, max_body)
        finally:
            self._pool.release(connection)
        return UpstreamResponse(status, tuple(headers), body)

    @asynccontextmanager
    async def stream(
        self, request: UpstreamRequest, *, timeout_head: float, timeout_idle: float = 90.0
    ) -> AsyncIterator[UpstreamStream]:
        """Sends a request, and yields its response as a stream.

        *timeout_head* runs until the head is complete, *timeout_idle* for each silence between chunks after it.

        Leaving the block before the end of the answer closes the connection.
        """
        deadline = asyncio.get_running_loop().time() + timeout_head
        connection = await self._pool.acquire(deadline)
        try:
            self._send(connection, request)
            status, headers = await connection.head(deadline)
            yield UpstreamStream(status, tuple(headers), connection, timeout_idle)
        finally:
            self._pool.release(connection)

    async def aclose(self) -> None:
        await self._pool.aclose()

    def _send(self, connection: Connection, request: UpstreamRequest) -> None:
        if len(request.body) < _LARGE:
            connection.send(request.message(self._authority))
        else:  # in two writes, without a copy of the body
            connection.send(request.head(self._authority), request.body)

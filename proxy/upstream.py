"""The HTTP/1.1 client of the hot path: one origin, a bounded pool, no redirects, no retries, no environment.

Ours because the fate of a paid submit hangs on knowing whether a byte of it was handed to the socket and whether a byte
of an answer came back, which client libraries do not tell. `bench/clients.py` shows what it costs next to them.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple, Self

from proxy.connection import Connection
from proxy.dial import dial
from proxy.pool import Pool

Fields = tuple[tuple[bytes, bytes], ...]

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ORIGIN = re.compile(
    rf"(?P<scheme>https?)://(?P<host>{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{{1,5}}))?"
)
_PORTS = {"http": 80, "https": 443}

_OWNED = rb"host|connection|content-length|transfer-encoding|upgrade|te|trailer|expect|keep-alive"
_FIELD_LINES = re.compile(rb"(?:(?!(?i:" + _OWNED + rb"):)[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t -~]*\r\n)*")
_PATH = re.compile(rb"/[!\"$-~]*")
_METHODS = frozenset({b"GET", b"POST", b"PUT", b"PATCH", b"DELETE"})  # HEAD and CONNECT would frame answers otherwise
_WITH_CONTENT = frozenset({b"POST", b"PUT", b"PATCH"})


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the upstream is. Made by `parse`; *host* is in lower case and without brackets."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """`https://host[:port]` and nothing after it; `http` only to a loopback host. Raises ValueError."""
        match = _ORIGIN.fullmatch(text.lower())
        if match is None or not text.isascii():
            raise ValueError("must be https://host or https://host:port, with nothing after it")
        scheme, host = match["scheme"], match["host"].strip("[]")
        port = int(match["port"] or _PORTS[scheme])
        if match["host"].startswith("["):
            ipaddress.IPv6Address(host)
        if not 0 < port < 65536:
            raise ValueError("the port must be 1 to 65535")
        if scheme == "http" and not is_loopback(host):
            raise ValueError("http is for a loopback host only")
        return cls(scheme, host, port)

    @property
    def authority(self) -> bytes:
        """The Host field's value: the port only where it is not the scheme's own (RFC 9110 section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}").encode("ascii")


class FieldLines:
    """Header fields without those that belong to the connection, as they go on the wire. The repr shows none.

    Raises ValueError if any could change the framing: whoever chose them has already checked each, this is the last
    line of defence.
    """

    __slots__ = ("fields", "text")

    def __init__(self, fields: Fields) -> None:
        text = b"".join([b"%b: %b\r\n" % field for field in fields])
        # A line end inside a field would only make one line more of it, so the lines are counted.
        if _FIELD_LINES.fullmatch(text) is None or text.count(b"\n") != len(fields):
            raise ValueError("not fields this client sends")
        self.fields = fields
        self.text = text


class UpstreamRequest:
    """*path* in origin-form, query included. Raises ValueError where one of the two is not to be sent.

    The repr shows neither fields nor body: one holds the key, the other a prompt.
    """

    __slots__ = ("body", "lines", "method", "path")

    def __init__(self, method: bytes, path: bytes, lines: FieldLines, body: bytes) -> None:
        if method not in _METHODS or _PATH.fullmatch(path) is None:
            raise ValueError("not a request this client sends")
        self.method = method
        self.path = path
        self.lines = lines
        self.body = body

    def __repr__(self) -> str:
        return f"UpstreamRequest({self.method!r}, {self.path!r})"

    @property
    def headers(self) -> Fields:
        return self.lines.fields

    def message(self, authority: bytes) -> bytes:
        """All of it as it goes on the wire, so that it is handed over in one write."""
        length = b"content-length: %d\r\n" % len(self.body) if self.body or self.method in _WITH_CONTENT else b""
        head = b"%b %b HTTP/1.1\r\nhost: %b\r\n%b%b\r\n" % (self.method, self.path, authority, self.lines.text, length)
        return head + self.body


class UpstreamResponse(NamedTuple):
    """*headers* as they came but with names in lower case; *body* decoded from chunks and from nothing else."""

    status: int
    headers: Fields
    body: bytes


class UpstreamStream:
    """An answer whose content is read as it comes: `async for chunk in stream`, once.

    Nothing is read from the socket beyond a small buffer while the caller does not ask.
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


class Upstream:
    """Raises the TransportErrors of `proxy.errors`. All durations are in seconds, all sizes in bytes.

    Cancelling a call closes its connection at once.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        tls: ssl.SSLContext | None,
        max_connections: int = 100,
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

    async def fetch(self, request: UpstreamRequest, *, timeout: float, max_body: int) -> UpstreamResponse:
        """*timeout* is for all of it, from the wait for a connection to the last byte of the answer."""
        deadline = asyncio.get_running_loop().time() + timeout
        connection = await self._pool.acquire(deadline)
        try:
            connection.send(request.message(self._authority))
            status, headers, body = await connection.whole(deadline, max_body)
        finally:
            self._pool.release(connection)
        return UpstreamResponse(status, tuple(headers), body)

    @asynccontextmanager
    async def stream(
        self, request: UpstreamRequest, *, timeout_head: float, timeout_idle: float = 90.0
    ) -> AsyncIterator[UpstreamStream]:
        """*timeout_head* is for all up to the complete head, *timeout_idle* for each silence between chunks after it.

        Leaving the block before the end of the answer closes the connection.
        """
        deadline = asyncio.get_running_loop().time() + timeout_head
        connection = await self._pool.acquire(deadline)
        try:
            connection.send(request.message(self._authority))
            status, headers = await connection.head(deadline)
            yield UpstreamStream(status, tuple(headers), connection, timeout_idle)
        finally:
            self._pool.release(connection)

    async def aclose(self) -> None:
        await self._pool.aclose()


def tls_context(ca_file: str | None = None) -> ssl.SSLContext:
    """Verifies the peer against *ca_file*, or the system's authorities; TLS 1.2 or newer, HTTP/1.1 by ALPN.

    Not `ssl.create_default_context`: that writes the session keys to the file SSLKEYLOGFILE names.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cafile=ca_file)
    return context


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

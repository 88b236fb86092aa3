"""Connections to an upstream: all addresses of a name, each with a head start (RFC 8305).

uvloop's own create_connection tries them one after the other, so a silent address would cost the whole deadline.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence

from aiohappyeyeballs import AddrInfoType, start_connection

from proxy.errors import ConnectFailed
from proxy.http.client.connection import Connection
from proxy.http.client.tls import secure

HEAD_START = 0.25  # seconds; RFC 8305 section 5


async def dial(connection: Connection, host: str, port: int, *, tls: ssl.SSLContext | None) -> Connection:
    """Connects *connection*, with the peer verified as *host* if there is a TLS context.

    Raises ConnectFailed.

    Has no deadline of its own; cancelling it closes all that it has opened.
    """
    loop = asyncio.get_running_loop()
    try:
        connected = await connect_first(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        if tls is None:
            await loop.create_connection(lambda: connection, sock=connected)
        else:
            await secure(connection, connected, tls, host)
    except (
        OSError,
        RuntimeError,
    ) as error:  # SSLError and gaierror too; uvloop has RuntimeErrors
        raise ConnectFailed(f"{type(error).__name__}: {error}") from error
    return connection


async def connect_first(addresses: Sequence[AddrInfoType], *, head_start: float = HEAD_START) -> socket.socket:
    """Returns the first socket that connects, families alternating; the others are closed. Raises OSError."""
    return await start_connection(addresses, happy_eyeballs_delay=head_start, socket_factory=_open)


def _open(address: AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    opened = socket.socket(family, kind, protocol)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened

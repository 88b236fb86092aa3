"""Opening a connection: the addresses of a name one after the other, each given a head start only (RFC 8305).

uvloop's own create_connection has no such race, so one silent address would cost the whole deadline.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Iterable
from itertools import chain, zip_longest

from proxy.errors import ConnectFailed
from proxy.http.client.connection import Connection
from proxy.http.client.tls import secure

HEAD_START = 0.25  # seconds; RFC 8305 section 5

Address = tuple[socket.AddressFamily, tuple[str | int, ...] | tuple[int, bytes]]
Attempt = asyncio.Task[socket.socket]


async def dial(connection: Connection, host: str, port: int, *, tls: ssl.SSLContext | None) -> Connection:
    """Connects *connection*, with the peer verified as *host* if there is a TLS context. Raises ConnectFailed.

    Has no deadline of its own; cancelling it closes whatever it has opened.
    """
    try:
        connected = await race(await resolve(host, port))
        if tls is None:
            await asyncio.get_running_loop().create_connection(lambda: connection, sock=connected)
        else:
            await secure(connection, connected, tls, host)
    except OSError as error:  # so are ssl.SSLError and socket.gaierror
        raise ConnectFailed(f"{type(error).__name__}: {error}") from error
    return connection


async def resolve(host: str, port: int) -> list[Address]:
    """The addresses of *host* in the resolver's order, families alternating (RFC 8305 section 4)."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses: list[Address] = [(family, address) for family, _, _, _, address in found]
    preferred = [address for address in addresses if address[0] == addresses[0][0]]
    others = [address for address in addresses if address[0] != addresses[0][0]]
    return [address for address in chain.from_iterable(zip_longest(preferred, others)) if address is not None]


async def race(addresses: Iterable[Address]) -> socket.socket:
    """The first socket that connects; the others are closed. Raises the OSError of the last one that failed."""
    untried = deque(addresses)
    attempts: list[Attempt] = []
    winner: Attempt | None = None
    try:
        while winner is None:
            if untried:
                attempts.append(asyncio.create_task(connect(*untried.popleft())))
            winner = await first_connected(attempts, HEAD_START if untried else None)
            if winner is None and not untried and all(attempt.done() for attempt in attempts):
                return attempts[-1].result()
        return winner.result()
    finally:
        for attempt in attempts:
            if attempt is not winner:
                attempt.cancel()
                attempt.add_done_callback(discard)


async def first_connected(attempts: list[Attempt], timeout: float | None) -> Attempt | None:
    """The first of *attempts* that is connected; None after *timeout* seconds or one more failure."""
    pending = [attempt for attempt in attempts if not attempt.done()]
    await asyncio.wait(pending, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    return next((attempt for attempt in attempts if attempt.done() and attempt.exception() is None), None)


async def connect(family: socket.AddressFamily, address: tuple[str | int, ...] | tuple[int, bytes]) -> socket.socket:
    connecting = socket.socket(family, socket.SOCK_STREAM)
    connecting.setblocking(False)
    connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        await asyncio.get_running_loop().sock_connect(connecting, address)
    except BaseException:
        connecting.close()
        raise
    return connecting


def discard(attempt: Attempt) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()

"""HTTP server of one application, several of which run in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Generator
from functools import partial
from typing import Literal, cast

import uvicorn
from starlette.types import ASGIApp

from proxy.http.server.connection import HttpConnection
from proxy.http.server.state import SHARED_STATE, SharedState

_TICK = 0.1  # seconds; uvicorn counts in tenths
_CANCELLED_TIME = 1.0  # seconds in which a cancelled exchange may answer


class HttpServer(uvicorn.Server):
    """Serves *app* over HTTP/1.1 with our connection class.

    Owns no signal handler, no log and no event loop.

    *shared* has limits and call-backs; without it they come from the lifespan state of *app*.
    """

    def __init__(
        self, app: ASGIApp, *, shared: SharedState | None = None, lifespan: Literal["on", "off"] = "off"
    ) -> None:
        super().__init__(connection_config(app, shared=shared, lifespan=lifespan))
        self.shared = shared
        self._started = asyncio.Event()
        self._stopping = asyncio.Event()

    async def start(self, host: str = "127.0.0.1", port: int = 0, *, sock: socket.socket | None = None) -> None:
        """Returns once connections are accepted, on *sock* where given; `address` says where.

        Raises OSError where the address cannot be bound, RuntimeError where *app* does not start.
        """
        sock = sock or listening_socket(host, port)
        self.address: tuple[str, int] = sock.getsockname()[:2]
        self._serving = asyncio.create_task(self.serve(sockets=[sock]))
        starting = asyncio.create_task(self._started.wait())
        await asyncio.wait([self._serving, starting], return_when=asyncio.FIRST_COMPLETED)
        starting.cancel()
        if self._serving.done():
            sock.close()
            await self._serving

    async def stop(self, grace: float) -> None:
        """Stops accepting, waits *grace* seconds for requests that are complete, then cancels them."""
        # uvicorn takes whole seconds by its annotation, and any number in fact.
        self.config.timeout_graceful_shutdown = cast(int, grace)
        self.should_exit = True
        self.drain()
        self._stopping.set()
        await self._serving

    def drain(self) -> None:
        """Makes every response close its connection; new connections are still accepted."""
        shared = self.shared or self.lifespan.state.get(SHARED_STATE)
        if isinstance(shared, SharedState):
            shared.drain()

    async def main_loop(self) -> None:
        """Ticks as uvicorn's does, and ends at once when it is stopped."""
        counter = 0
        while not await self.on_tick(counter):
            counter += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK):
                    await self._stopping.wait()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:  # it would end the event loop, and all other servers on it
            raise RuntimeError("the application did not start") from None
        self._started.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self.server_state.tasks:
            await asyncio.wait(tuple(self.server_state.tasks), timeout=_CANCELLED_TIME)
        for connection in tuple(self.server_state.connections):
            cast(HttpConnection, connection).transport.abort()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def connection_config(
    app: ASGIApp, *, shared: SharedState | None = None, lifespan: Literal["on", "off"] = "on"
) -> uvicorn.Config:
    """Returns the configuration of a uvicorn server with our connection class."""
    protocol = HttpConnection if shared is None else partial(HttpConnection, shared=shared)
    return uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", protocol),
        ws="none",
        interface="asgi3",
        lifespan=lifespan,
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
    )


def listening_socket(host: str, port: int, *, key: str = "server.port") -> socket.socket:
    """Binds a TCP socket; `::` takes IPv4 too.

    Raises OSError, which names *key* where another program listens.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048, dualstack_ipv6=host == "::")
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise OSError(f"{key}: another program listens on {host}:{port}; stop it, or give another port") from error

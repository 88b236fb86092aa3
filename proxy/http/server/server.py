"""HTTP server of one application, several of which run in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator
from functools import partial
from typing import Literal, cast

import uvicorn
from starlette.types import ASGIApp

from proxy.http.server.connection import HttpConnection
from proxy.http.server.state import SharedState

_CANCELLED_TIME = 1.0  # seconds in which a cancelled exchange may answer


class HttpServer(uvicorn.Server):
    """Serves *app* over HTTP/1.1 with our connection class. Owns no signal handler, no log and no event loop.

    *shared* has limits and call-backs; without it they come from the lifespan state of *app*.
    """

    def __init__(
        self, app: ASGIApp, *, shared: SharedState | None = None, lifespan: Literal["on", "off"] = "off"
    ) -> None:
        super().__init__(connection_config(app, shared=shared, lifespan=lifespan))
        self._shared = shared
        self._started = asyncio.Event()

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return str(host), int(port)

    async def start(self, host: str = "127.0.0.1", port: int = 0, *, sock: socket.socket | None = None) -> None:
        """Returns once connections are accepted, on *sock* where given; `address` says where.

        Raises OSError where the address cannot be bound, RuntimeError where *app* does not start.
        """
        sock = sock or listening_socket(host, port)
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
        await self._serving

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
    """Returns the configuration of a uvicorn server with our connection class, which needs no other setting."""
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


def listening_socket(host: str, port: int) -> socket.socket:
    """Binds a TCP socket; `::` takes IPv4 too. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048, dualstack_ipv6=host == "::")

"""A listening socket and all that hangs on it, usable several times in one event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from email.utils import formatdate
from typing import Literal, cast

from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn.lifespan.off import LifespanOff
from uvicorn.lifespan.on import LifespanOn

from proxy.http.client_address import Network
from proxy.http.server.connection import Inbound
from proxy.http.server.limits import ListenerLimits
from proxy.http.server.state import Door

_CANCELLED_TIME = 1.0  # seconds that an exchange cut short has to answer


class Listener:
    """Serves *app* over HTTP/1.1 without TLS. Owns no signal handler, no log and no event loop.

    *report* is told in a word of everything that ends before *app* could see it: `malformed_request`,
    `head_too_large`, `target_too_long`, `content_too_large`, `request_timeout`, `slow_reader`, `too_many_connections`.
    *always* are fields of every answer, also of those.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: ListenerLimits | None = None,
        trusted: Sequence[Network] = (),
        lifespan: Literal["on", "off"] = "off",
        always: Sequence[tuple[bytes, bytes]] = (),
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._always = b"".join([b"%b: %b\r\n" % field for field in always])
        self._app = app
        # Of uvicorn only the lifespan is used, and its configuration for that.
        self._config = Config(
            cast("Callable[..., object]", app),
            ws="none",
            interface="asgi3",
            lifespan=lifespan,
            proxy_headers=False,
            server_header=False,
            access_log=False,
            log_config=None,
        )
        self._config.load()
        self._door = Door(limits or ListenerLimits(), trusted, report)

    async def start(self, host: str = "127.0.0.1", port: int = 0, *, sock: socket.socket | None = None) -> None:
        """Returns once connections are accepted, on *sock* where given; `address` says where that is.

        Raises OSError when the address cannot be had, RuntimeError when *app* does not start.
        """
        loop = asyncio.get_running_loop()
        self._lifespan = cast("LifespanOn | LifespanOff", self._config.lifespan_class(self._config))
        await self._lifespan.startup()
        if self._lifespan.should_exit:
            raise RuntimeError("the application did not start")
        try:
            if sock is None:
                self._server = await loop.create_server(self._connection, host, port, backlog=self._config.backlog)
            else:
                self._server = await loop.create_server(self._connection, sock=sock, backlog=self._config.backlog)
        except OSError:
            await self._lifespan.shutdown()
            raise
        self.address: tuple[str, int] = self._server.sockets[0].getsockname()[:2]
        self._sweep()

    def drain(self) -> None:
        """From now on every answer closes its connection; new ones are still accepted."""
        self._door.draining = True
        for connection in tuple(self._door.connections):
            connection.drain()

    async def stop(self, grace: float) -> None:
        """Accepts no more, lets requests that are whole have their answer for *grace* seconds, then cancels them."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        self.drain()
        self._server.close()
        for connection in tuple(self._door.connections):
            connection.shutdown()
        await self._emptied(grace)
        await self._finished(deadline - loop.time())
        for task in tuple(self._door.tasks):
            task.cancel()
        await self._finished(_CANCELLED_TIME)
        for connection in tuple(self._door.connections):
            connection.transport.abort()
        await self._emptied(_CANCELLED_TIME)
        self._sweeper.cancel()
        await self._lifespan.shutdown()

    async def _emptied(self, timeout: float) -> None:
        self._door.emptied.clear()
        if self._door.connections:
            waiting = asyncio.create_task(self._door.emptied.wait())
            await asyncio.wait([waiting], timeout=timeout)
            waiting.cancel()

    async def _finished(self, timeout: float) -> None:
        """A request can outlive its connection: a submit is finished for a caller who left."""
        if self._door.tasks:
            await asyncio.wait(tuple(self._door.tasks), timeout=timeout)

    def _connection(self) -> Inbound:
        return Inbound(self._app, self._lifespan.state, self._door)

    def _sweep(self) -> None:
        """One timer for all deadlines of all connections, and for the Date that answers carry."""
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_later(self._door.limits.sweep, self._sweep)
        date = b"date: %b\r\n" % formatdate(usegmt=True).encode("ascii")
        self._door.common = date + self._always
        now = loop.time()
        for connection in tuple(self._door.connections):
            connection.inspect(now)

"""Gateway in an event loop that it does not own: the demo's, or a test's."""

from __future__ import annotations

import socket
from collections.abc import Callable

from starlette.types import ASGIApp

from proxy.app.process.gateway_process import GatewayProcess
from proxy.app.setup.components import Components
from proxy.http.server.server import HttpServer, listening_socket

# Seconds over the longest call, so that no submit or run under way is cut by the stop.
GRACE_OVER_DEADLINE = 2.0


class GatewayServer:
    """Public and admin listener of one gateway. *log* is the descriptor of the journal.

    *around* may put another application in front of the public one.
    """

    def __init__(
        self, components: Components, *, log: int, around: Callable[[ASGIApp], ASGIApp] = lambda app: app
    ) -> None:
        self._config = components.config
        self._process = GatewayProcess(components, log=log)
        self._server = HttpServer(around(self._process.app), lifespan="on")

    @property
    def address(self) -> tuple[str, int]:
        return self._server.address

    @property
    def admin_address(self) -> tuple[str, int]:
        return self._process.admin_address

    async def start(self, *, sock: socket.socket | None = None) -> None:
        """Listens on *sock* where given, else where the configuration says. Raises OSError and RuntimeError."""
        server = self._config.server
        sock = sock or listening_socket(server.host, server.port)
        self._process.address = sock.getsockname()[:2]
        await self._server.start(sock=sock)

    async def stop(self, grace: float | None = None) -> None:
        """Finishes the requests under way, then stops.

        They have *grace* seconds, by default as long as the longest call.
        """
        self._process.drain()
        _, longest = self._config.longest_call
        await self._server.stop(longest + GRACE_OVER_DEADLINE if grace is None else grace)

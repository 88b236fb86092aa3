"""Admin listener of one worker, which answers for all workers."""

from __future__ import annotations

import socket
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from proxy.app.pages import create_metrics, metrics_response
from proxy.app.process.worker_metrics import summed
from proxy.app.process.worker_sockets import WorkerSockets
from proxy.http.server.server import HttpServer

METRICS_LEFT = ".ended"  # what a worker leaves at its end, so that no counter runs backwards


class AdminListener:
    """Serves what *exposition* returns, with that of the other workers of *folder*; None: there are none."""

    def __init__(self, exposition: Callable[[], bytes], folder: str | None) -> None:
        self._exposition = exposition
        self._is_alone = folder is None
        self._sockets = WorkerSockets(folder)
        self.app = Starlette(routes=[Route("/metrics", self._metrics, methods=["GET"])])
        self._server = HttpServer(self.app)

    @property
    def address(self) -> tuple[str, int]:
        return self._server.address

    async def start(self, host: str, port: int, *, sock: socket.socket | None = None) -> None:
        """Listens on *sock* where given, and on the socket for the other workers. Raises OSError."""
        await self._sockets.start(create_metrics(self._exposition))
        await self._server.start(host, port, sock=sock)

    async def stop(self, grace: float) -> None:
        """Leaves the last values to the other workers, and waits *grace* seconds for a last scrape."""
        await self._server.stop(grace)
        await self._sockets.stop({METRICS_LEFT: self._exposition()})

    async def _metrics(self, _: Request) -> Response:
        own = self._exposition()
        if self._is_alone:
            return metrics_response(own)
        live = [own, *await self._sockets.fetch("/metrics")]
        ended = self._sockets.ended(METRICS_LEFT)
        return metrics_response(summed([*((text, False) for text in live), *((text, True) for text in ended)]))

"""Admin listener of one worker, which answers for all workers."""

from __future__ import annotations

import socket
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from proxy.app.pages import metrics_response
from proxy.app.process.worker_metrics import WorkerMetrics
from proxy.http.server.server import HttpServer
from proxy.telemetry.families import Family


class AdminListener:
    """Serves what *families* returns, with that of the other workers of *folder*; None: there are none."""

    def __init__(self, families: Callable[[], list[Family]], folder: str | None) -> None:
        self._metrics = WorkerMetrics(families, folder)
        self.app = Starlette(routes=[Route("/metrics", self._show_metrics, methods=["GET"])])
        self._server = HttpServer(self.app)

    @property
    def address(self) -> tuple[str, int]:
        return self._server.address

    async def start(self, host: str, port: int, *, sock: socket.socket | None = None) -> None:
        """Listens on *sock* where given, and answers the other workers. Raises OSError."""
        await self._metrics.start()
        await self._server.start(host, port, sock=sock)

    async def stop(self, grace: float) -> None:
        """Leaves the last values to the other workers, and waits *grace* seconds for a last scrape."""
        await self._server.stop(grace)
        await self._metrics.stop()

    async def _show_metrics(self, _: Request) -> Response:
        return metrics_response(await self._metrics.scrape())

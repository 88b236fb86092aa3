"""Admin listener of one worker: metrics and the operator page, of all workers."""

from __future__ import annotations

import socket
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from proxy.app.application import Application
from proxy.app.operator_page.page import REPORT_LEFT, OperatorPage
from proxy.app.operator_page.reload_status import ReloadStatus, read_status
from proxy.app.operator_page.routes import page_routes, worker_routes
from proxy.app.pages import metrics_response
from proxy.app.process.worker_metrics import WorkerMetrics
from proxy.app.process.worker_sockets import WorkerSockets
from proxy.http.server.server import HttpServer


class AdminListener:
    """Serves the metrics and the page of *application* with those of all other workers of *folder*.

    Without a folder there are none.
    """

    def __init__(self, application: Application, folder: str | None) -> None:
        self._metrics = WorkerMetrics(application.families, folder)
        self._sockets = WorkerSockets(folder)
        self._page = OperatorPage(
            application.reporter,
            self._sockets,
            serving=lambda: application.serving,
            names=application.names,
            reload_status=_reload_status(application, folder),
        )
        self.app = Starlette(routes=[Route("/metrics", self._show_metrics, methods=["GET"]), *page_routes(self._page)])
        self.app.router.redirect_slashes = False
        self._server = HttpServer(self.app)

    @property
    def address(self) -> tuple[str, int]:
        return self._server.address

    async def start(self, host: str, port: int, *, sock: socket.socket | None = None) -> None:
        """Listens on *sock* where given, and on the socket for the other workers. Raises OSError."""
        await self._metrics.start()
        await self._sockets.start(Starlette(routes=worker_routes(self._page)))
        await self._server.start(host, port, sock=sock)

    async def stop(self, grace: float) -> None:
        """Leaves the last values to the other workers, and waits *grace* seconds for a last scrape."""
        await self._server.stop(grace)
        await self._metrics.stop()
        await self._sockets.stop({REPORT_LEFT: self._page.report(has_ended=True)})

    async def _show_metrics(self, _: Request) -> Response:
        return metrics_response(await self._metrics.scrape())


def _reload_status(application: Application, folder: str | None) -> Callable[[], ReloadStatus]:
    """Returns the source of the status. The first process replaces workers, and leaves it in *folder*."""
    if folder is None:
        return lambda: application.reload_status
    return lambda: read_status(folder)

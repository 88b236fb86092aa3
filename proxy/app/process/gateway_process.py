"""Gateway of one process with its journal and its admin listener."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from starlette.applications import Starlette

from proxy.app.application import Application
from proxy.app.process.admin_listener import AdminListener
from proxy.app.setup.components import Components
from proxy.http.server.state import SharedState
from proxy.telemetry.json_log import JsonLogWriter

_CANCELLED_TIME = 1.0  # seconds in which cancelled requests settle their reservations
_ADMIN_GRACE = 1.0  # seconds for the last scrape


class GatewayProcess:
    """Builds *app*, whose lifespan runs the gateway. *log* is the descriptor of the journal.

    *admin* is a listening socket, which several workers may share; without it the configuration says where to listen.
    *metrics_folder* connects the metrics of all workers. *ready_seconds* is how long the start waits for the stores,
    None for as long as it takes.
    """

    def __init__(
        self,
        components: Components,
        *,
        log: int,
        admin: socket.socket | None = None,
        metrics_folder: str | None = None,
        ready_seconds: float | None = 0.0,
    ) -> None:
        self._config = components.config
        self._admin_socket = admin
        self._metrics_folder = metrics_folder
        self._ready_seconds = ready_seconds
        secrets = [*components.fal_secrets, *filter(None, [components.admin_token])]
        text = components.config.log.format == "text"
        self.journal = JsonLogWriter(log, secrets=secrets, text=text)
        self.application = Application(components, self.journal)
        self.app = self.application.listener
        router = self.application.public.router
        self._gateway_lifespan = router.lifespan_context
        router.lifespan_context = self._lifespan
        self.address: tuple[str, int] | None = None

    @property
    def shared(self) -> SharedState:
        return self.application.connections

    @property
    def drain_seconds(self) -> float:
        return self._config.server.drain_seconds

    @property
    def admin_address(self) -> tuple[str, int]:
        return self._admin.address

    def drain(self) -> None:
        """Turns `/readyz` red and makes every response close its connection; new requests are still taken."""
        self.journal.write({"event": "stopping"})
        self.application.drain()

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[Mapping[str, object]]:
        self._admin = AdminListener(self.application, self._metrics_folder)
        async with AsyncExitStack() as stack:
            stack.callback(self.journal.close)
            stack.callback(self.journal.write, {"event": "stopped", "pid": os.getpid()})
            await self._admin.start(self._config.admin.host, self._config.admin.port, sock=self._admin_socket)
            stack.push_async_callback(self._admin.stop, _ADMIN_GRACE)
            state = await stack.enter_async_context(self._gateway_lifespan(app))
            await self.application.wait_until_ready(self._ready_seconds)
            await self._report_start()
            yield state or {}
            await self.application.wait_until_idle(_CANCELLED_TIME)

    async def _report_start(self) -> None:
        addresses = {"address": _join(self.address), "admin": _join(self._admin.address)}
        self.journal.write({"event": "started", "pid": os.getpid(), **addresses})
        for warning in await self.application.warnings():
            self.journal.write({"event": "warning", "message": warning})


def _join(address: tuple[str, int] | None) -> str | None:
    return None if address is None else ":".join(map(str, address))

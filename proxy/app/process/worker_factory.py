"""Factory of the application that one serving process runs."""

from __future__ import annotations

import gc
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NoReturn

from starlette.applications import Starlette
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE

from proxy.app.process import python_log
from proxy.app.process.gateway_process import GatewayProcess
from proxy.app.process.reload_signal import ReloadSignal
from proxy.app.process.stop_signals import StopSignals
from proxy.app.setup.components import build_components
from proxy.config.loader import Config

# Seconds that a first worker waits for its stores before it serves without them.
COLD_START = 5.0


@dataclass(frozen=True)
class WorkerFactory:
    """Builds the application from a snapshot of the configuration; pickled for the process of a worker.

    *admin* is the listening socket of the admin listener, *address* the one of the public listener. *ready_seconds* is
    how long the worker waits for its stores before it counts as started, None for as long as it takes. *load* reads the
    configuration again in a single process; workers are replaced instead.
    """

    config: Config
    admin: socket.socket
    log: int
    address: tuple[str, int]
    metrics_folder: str | None = None
    ready_seconds: float | None = COLD_START
    load: Callable[[], Config] | None = None

    def __call__(self) -> ASGIApp:
        process = GatewayProcess(
            build_components(self.config),
            log=self.log,
            admin=self.admin,
            metrics_folder=self.metrics_folder,
            ready_seconds=self.ready_seconds,
        )
        process.address = self.address
        process.application.end_process = self._end_process(process)
        python_log.install(process.journal)
        signals = StopSignals(process)
        router = process.application.public.router
        gateway_lifespan = router.lifespan_context

        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[Mapping[str, object]]:
            signals.install()
            if self.load is not None:
                ReloadSignal(process.application, process.journal, self.load).install()
            async with gateway_lifespan(app) as state:
                _spare_the_collector()
                _share_the_interpreter()
                yield state or {}

        router.lifespan_context = lifespan
        return process.app

    def _end_process(self, process: GatewayProcess) -> Callable[[], NoReturn]:
        """Returns the end of a process that cannot serve. A worker's status ends the service, too."""
        status = STARTUP_FAILURE if self.metrics_folder else 1

        def end() -> NoReturn:
            process.journal.close()
            sys.stderr.flush()
            os._exit(status)  # an exception in a task would be logged with all that it passes through

        return end


def _share_the_interpreter() -> None:
    """Makes threads give up the interpreter after 0.5 ms of Python code, for which requests wait."""
    sys.setswitchinterval(0.0005)


def _spare_the_collector() -> None:
    """Exempts what exists now, which stays for good.

    A request leaves no cycles, so few collections are enough.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)

"""Supervisor of workers: uvicorn's, with a reload of the configuration and an end of failed starts."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from types import FrameType

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from proxy.app.operator_page.reload_status import ReloadStatus
from proxy.app.process.worker_factory import WorkerFactory
from proxy.app.process.worker_metrics import write_supervisor
from proxy.errors import ConfigError, Problem
from proxy.telemetry.counters import Counter
from proxy.telemetry.json_log import JsonLogWriter

# A worker that ends within STARTUP_SECONDS of its start has not started; MAX_FAILED_STARTS in a row end the service.
STARTUP_SECONDS = 10.0
MAX_FAILED_STARTS = 5
_KILLED = (-signal.SIGKILL, -signal.SIGTERM)  # from outside, so no sign of a worker that cannot start


def supervisor_counters() -> tuple[Counter, Counter]:
    """Returns the counters of ended workers and of reloads."""
    return (
        Counter("fal_proxy_worker_ends", "Workers that ended without being asked to.", ["code"]),
        Counter("fal_proxy_reloads", "Reloads of the configuration.", ["result"]),
    )


class WorkerSupervisor(Multiprocess):
    """Keeps the workers of *config* alive.

    SIGHUP replaces them one by one, each ready before its predecessor stops.

    *load* reads the configuration and returns the factory of new workers; it raises ConfigError, which keeps the old
    workers. Only SIGHUP calls it: a worker that replaces a dead one starts from what was read before. *record* gets the
    result of each reload.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        sockets: list[socket.socket],
        *,
        load: Callable[[], WorkerFactory],
        journal: JsonLogWriter,
        metrics_folder: str | None = None,
        record: Callable[[ReloadStatus], None] = lambda status: None,
    ) -> None:
        super().__init__(config, sockets)
        self._metrics_folder = metrics_folder
        self._ends, self._reloads = supervisor_counters()
        self._load = load
        self._journal = journal
        self._record = record
        self._status = ReloadStatus()
        self._stops = 0
        self._restarting = False
        self._started: dict[int | None, float] = {}
        self._failed_starts = 0
        self.has_failed = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._receive_stop)

    def _receive_stop(self, number: int, _: FrameType | None) -> None:
        self._stops += 1
        if self._stops > 1:
            for process in self.processes:
                process.kill()
            os._exit(128 + number)
        self.signal_queue.append(number)
        if self._restarting:  # the queue is read after the restart, which waits for requests under way
            self.should_exit.set()
            self.terminate_all()

    def handle_hup(self) -> None:
        try:
            factory = self._load()
        except ConfigError as error:
            self._refuse(str(error))
            return
        previous, before = self.config.app, {process.pid for process in self.processes}
        self._use(replace(factory, ready_seconds=None))
        self._restarting = True
        self.restart_all()
        self._restarting = False
        self._use(factory)
        if before & {process.pid for process in self.processes}:
            self.config.app = previous
            self._refuse("a new worker did not get ready in time")
        else:
            self._status = self._status.applied(time.time())
            self._record(self._status)
            self._count(self._reloads, "applied")
            self._journal.write({"event": "reloaded"})

    def _refuse(self, reason: str) -> None:
        self._status = self._status.refused(time.time(), reason)
        self._record(self._status)
        self._count(self._reloads, "refused")
        self._journal.write({"event": "reload_failed", "reason": reason})

    def keep_subprocess_alive(self) -> None:
        before = tuple(self.processes)
        for process in before:
            self._started.setdefault(process.pid, time.monotonic())
        super().keep_subprocess_alive()
        for process in before:
            if process.exitcode is not None:
                self._count_end(process.pid, process.exitcode)
        if self._failed_starts >= MAX_FAILED_STARTS:
            self.has_failed = True
            self.should_exit.set()

    def _count_end(self, pid: int | None, code: int) -> None:
        self._count(self._ends, code)
        self._journal.write({"event": "worker_ended", "pid": pid, "code": code})
        early = time.monotonic() < self._started.pop(pid) + STARTUP_SECONDS
        self._failed_starts = self._failed_starts + 1 if early and code not in _KILLED else 0
        self.has_failed |= code == STARTUP_FAILURE

    def _count(self, counter: Counter, value: str | int) -> None:
        counter.add(value)
        if self._metrics_folder is not None:
            write_supervisor(self._metrics_folder, [self._ends.family(), self._reloads.family()])

    def serve(self) -> None:
        """Returns after SIGTERM or SIGINT. Raises ConfigError where the workers do not start."""
        self.run()
        if self.has_failed:
            raise ConfigError([Problem("workers", "a worker does not start; its own message is above")])

    def _use(self, factory: WorkerFactory) -> None:
        self.config.app = factory  # uvicorn types factories and applications alike

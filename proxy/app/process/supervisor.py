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
from proxy.app.process.worker_starts import WorkerStarts
from proxy.errors import ConfigError, Problem
from proxy.telemetry.counters import Counter
from proxy.telemetry.json_log import JsonLogWriter

MAX_FAILED_STARTS = 5  # in a row; they end the service


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
        self._starts = WorkerStarts()
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
        before = {process.pid: process for process in self.processes if process.pid is not None}
        self._starts.begin(before, time.monotonic())
        alive = {pid for pid, process in before.items() if process.exitcode is None}
        super().keep_subprocess_alive()
        for pid, process in before.items():
            # A worker that ended after it was looked at is replaced, and counted, at the next look.
            is_handled = process not in self.processes or self.should_exit.is_set()
            if process.exitcode is not None and is_handled:
                hung = pid in alive and process.exitcode == -signal.SIGKILL  # it did not answer, and was killed here
                self._count_end(pid, process.exitcode, hung=hung)
        for pid in self._starts.unready():
            if before[pid].exitcode is None and before[pid].is_ready(timeout=1):
                self._starts.mark_ready(pid)
        if self._starts.failed >= MAX_FAILED_STARTS:
            self.has_failed = True
            self.should_exit.set()

    def _count_end(self, pid: int, code: int, *, hung: bool) -> None:
        self._count(self._ends, code)
        self._journal.write({"event": "worker_ended", "pid": pid, "code": code})
        self._starts.end(pid, code, time.monotonic(), hung=hung)
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

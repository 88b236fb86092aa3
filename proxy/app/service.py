"""The command `serve`: sockets, the server of one process, or the supervisor of several."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import replace
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit, setrlimit

import uvicorn
import uvloop

from proxy.app.factory import check_shared_stores
from proxy.app.operator_page.reload_status import write_status
from proxy.app.process import python_log
from proxy.app.process.gateway_server import GRACE_OVER_DEADLINE
from proxy.app.process.snapshot import take_snapshot
from proxy.app.process.stop_signals import ignored_after_stop
from proxy.app.process.supervisor import WorkerSupervisor
from proxy.app.process.worker_factory import WorkerFactory
from proxy.app.runtime.reload import SHARED, restart_only_changes
from proxy.config.loader import Config
from proxy.errors import ConfigError
from proxy.http.server.server import connection_config, listening_socket
from proxy.telemetry.json_log import JsonLogWriter

_DESCRIPTORS = 8192
_REPLACEMENT = 30.0  # seconds in which a replacement must get ready; the old worker stays otherwise
_ACCEPTS = 16  # connections that a worker may accept in one turn of its event loop
_FIRST_PASSED_DESCRIPTOR = 3  # sd_listen_fds(3)


def serve(read: Callable[[], Config], *, workers: int = 1, fd: int | None = None, log: int) -> None:
    """Serves until SIGTERM or SIGINT.

    *read* reads the configuration; *log* is the descriptor of the journal.

    *fd* is a listening socket inherited from the parent, as are those of LISTEN_FDS. Raises ConfigError and OSError.
    """
    config = _snapshot(read(), workers)
    _raise_descriptor_limit()
    sockets = inherited_sockets(fd) or [listening_socket(config.server.host, config.server.port)]
    # libuv accepts one connection of each handle in a turn of the loop, and under load there are few turns a second.
    sockets += [sock.dup() for sock in sockets for _ in range(_ACCEPTS - 1)]
    admin = listening_socket(config.admin.host, config.admin.port, key="admin.port")
    host, port = sockets[0].getsockname()[:2]
    factory = WorkerFactory(config, admin, log, (str(host), int(port)))
    if workers == 1:
        with ignored_after_stop():
            uvicorn.Server(_server_config(replace(factory, load=read), workers)).run(sockets)
        return
    with tempfile.TemporaryDirectory(prefix="fal-proxy-") as folder:
        factory = replace(factory, metrics_folder=folder)
        journal = JsonLogWriter(log, text=config.log.format == "text")
        python_log.install(journal)
        supervisor = WorkerSupervisor(
            _server_config(factory, workers),
            sockets,
            load=lambda: replace(factory, config=_next_snapshot(config, read(), workers)),
            journal=journal,
            metrics_folder=folder,
            record=lambda status: write_status(folder, status),
        )
        supervisor.serve()


def _snapshot(config: Config, workers: int) -> Config:
    """Returns *config* as the workers get it. Raises ConfigError where they could not run it."""
    check_shared_stores(config, workers)
    return take_snapshot(config)


def _next_snapshot(running: Config, config: Config, workers: int) -> Config:
    problems = restart_only_changes(running, config, SHARED)
    if problems:
        raise ConfigError(problems)
    return _snapshot(config, workers)


def _server_config(factory: WorkerFactory, workers: int) -> uvicorn.Config:
    config = connection_config(factory)  # type: ignore[arg-type]
    _, longest = factory.config.longest_call
    config.factory = True
    config.loop = "uvloop"
    config.workers = workers
    config.timeout_graceful_shutdown = math.ceil(longest + GRACE_OVER_DEADLINE)
    config.timeout_worker_healthcheck = math.ceil(_REPLACEMENT)
    return config


def inherited_sockets(fd: int | None) -> list[socket.socket]:
    """Returns the listening sockets that systemd (LISTEN_FDS, LISTEN_PID) or *fd* passes to this process."""
    if fd is not None:
        return [socket.socket(fileno=fd)]
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(os.environ.get("LISTEN_FDS", "0"))
    return [socket.socket(fileno=_FIRST_PASSED_DESCRIPTOR + index) for index in range(count)]


def _raise_descriptor_limit() -> None:
    """Raises the soft limit of open files, as Go does: a stream takes two, and 1024 is for select(2)."""
    soft, hard = getrlimit(RLIMIT_NOFILE)
    target = _DESCRIPTORS if hard == RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != RLIM_INFINITY and soft < target:
        setrlimit(RLIMIT_NOFILE, (target, hard))


def stop_signal() -> asyncio.Event:
    """Returns an event that the first SIGTERM or SIGINT sets."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    return stopping


def run(main: Callable[[], Coroutine[None, None, None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())

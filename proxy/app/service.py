"""Runs an application on its listeners until it is told to stop, and stops it without losing a request."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from dataclasses import replace
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit, setrlimit

import orjson
import uvloop
from starlette.types import ASGIApp

from proxy.app.application import Application
from proxy.app.setup.components import Components
from proxy.errors import ConfigError, Problem
from proxy.http.server.limits import ConnectionLimits
from proxy.http.server.listener import HttpServer
from proxy.http.server.supervisor import supervise
from proxy.telemetry.json_log import JsonLogWriter

# Over the deadline, so that no submit or run under way is cut by our own stopping.
_GRACE_OVER_DEADLINE = 2.0
_DESCRIPTORS = 8192


class Service:
    """The public and the admin listener of one application. *log* is the descriptor of the journal.

    *around* may put another application in front of the public one.
    """

    def __init__(self, parts: Components, *, log: int, around: Callable[[ASGIApp], ASGIApp] = lambda app: app) -> None:
        server = parts.config.server
        self._config = parts.config
        self._journal = JsonLogWriter(log, secrets=[parts.fal_key, parts.fal_key.rpartition(":")[2]])
        self._application = Application(parts, self._journal)
        self._public = HttpServer(
            around(self._application.public),
            limits=replace(ConnectionLimits(), per_address=server.max_connections_per_address),
            trusted=server.trusted_proxies,
            lifespan="on",
            always=_transport_security(server.hsts_seconds),
            report=self._application.count_early_rejection,
        )
        self._admin = HttpServer(self._application.metrics)

    @property
    def address(self) -> tuple[str, int]:
        return self._public.address

    @property
    def admin_address(self) -> tuple[str, int]:
        return self._admin.address

    async def start(self, *, sock: socket.socket | None = None, admin_offset: int = 0) -> None:
        """Listens on *sock* where given, else where the configuration says. Raises OSError where that cannot be had."""
        server, admin = self._config.server, self._config.admin
        await self._public.start(server.host, server.port, sock=sock)
        await self._admin.start(admin.host, admin.port and admin.port + admin_offset)
        self._journal.write({"event": "started", "address": _told(self.address), "admin": _told(self.admin_address)})
        self._warning = asyncio.create_task(self._warn())

    async def stop(self, *, drain: float) -> None:
        """`/readyz` turns red at once; for *drain* seconds new requests are still taken, then the last are finished."""
        self._application.drain()
        self._public.drain()
        self._journal.write({"event": "stopping"})
        await self._warning
        await asyncio.sleep(drain)
        _, grace = self._config.longest_call
        self._application.end_streams(grace)
        await self._public.stop(grace + _GRACE_OVER_DEADLINE)
        await self._admin.stop(0)
        self._journal.write({"event": "stopped"})
        self._journal.close()

    async def _warn(self) -> None:
        """Beside the first requests: nothing waits for it."""
        for warning in await self._application.warnings():
            self._journal.write({"event": "warning", "message": warning})


def _transport_security(seconds: int) -> list[tuple[bytes, bytes]]:
    """RFC 6797. Whether it holds for subdomains too is for whoever owns them to say."""
    return [(b"strict-transport-security", b"max-age=%d" % seconds)] if seconds else []


def _told(address: tuple[str, int]) -> str:
    return ":".join(map(str, address))


async def serve(parts: Components, *, log: int, sock: socket.socket | None = None, admin_offset: int = 0) -> None:
    """Returns after SIGTERM or SIGINT. *admin_offset* is added to the admin port: each worker has its own metrics."""
    _take_descriptors()
    service = Service(parts, log=log)
    stopping = stop_signal()
    await service.start(sock=sock, admin_offset=admin_offset)
    _spare_the_collector()
    await stopping.wait()
    await service.stop(drain=parts.config.server.drain_seconds)


def serve_workers(parts: Components, count: int, *, log: int) -> None:
    """As `serve`, in *count* processes on one socket. Raises ConfigError where they could not share their counts."""
    config = parts.config
    apart = [name for name, kind in (("store", config.store.kind), ("ledger", config.ledger.kind)) if kind != "redis"]
    if apart:
        problems = [Problem(f"{name}.kind", "several workers must share it: redis") for name in apart]
        raise ConfigError(problems)
    family = socket.AF_INET6 if ":" in config.server.host else socket.AF_INET
    with socket.create_server((config.server.host, config.server.port), family=family, backlog=2048) as shared:

        def work(index: int) -> None:
            run(lambda: serve(parts, log=log, sock=shared, admin_offset=index))

        supervise(count, work, report=lambda index, code: _report(log, index, code))


def _report(log: int, index: int, code: int) -> None:
    line = orjson.dumps({"event": "worker_ended", "worker": index, "code": code})
    os.write(log, line + b"\n")


def _take_descriptors() -> None:
    """A stream takes two, and the usual soft limit of 1024 is there for select(2) alone (Go's os does the same)."""
    soft, hard = getrlimit(RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != RLIM_INFINITY and soft < wanted:
        setrlimit(RLIMIT_NOFILE, (wanted, hard))


def _spare_the_collector() -> None:
    """What is there now stays for good, and a request leaves no circles: looking for some each 700 objects is waste."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def stop_signal() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT from here on."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    return stopping


def run(main: Callable[[], Coroutine[None, None, None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())

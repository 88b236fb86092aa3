"""Composition root: builds, starts, reloads and stops the gateway of one process."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import NoReturn

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp

from proxy.app.asgi import ActiveGateway, GatewayMiddleware
from proxy.app.operator_page.reload_status import ReloadStatus
from proxy.app.operator_page.reporter import Reporter
from proxy.app.pages import create_metrics
from proxy.app.runtime.process_state import build_process_state
from proxy.app.runtime.reload import KEPT, restart_only_changes, with_readable_jobs
from proxy.app.runtime.serving import Serving
from proxy.app.setup.billing.ledgers import build_ledger, build_ledger_socket
from proxy.app.setup.billing.privacy import check_privacy
from proxy.app.setup.components import Components, build_components
from proxy.app.setup.tracing import with_tracing
from proxy.auth.user_names import UserNames
from proxy.billing.ledger.interface import Ledger
from proxy.config.value_types import HOUR
from proxy.errors import ConfigError, StoreAway
from proxy.gateway.streams.blocked_streams import end_blocked_streams
from proxy.http.server.state import SHARED_STATE, SharedState
from proxy.telemetry.families import Family, exposition
from proxy.telemetry.json_log import JsonLogWriter
from proxy.telemetry.process.clock_watch import ClockWatch
from proxy.telemetry.process.figures import process_families
from proxy.telemetry.process.loop_lag import BUCKETS, NAME, measure_loop_lag
from proxy.upstream.relay import UpstreamClient

LEDGER_START = 1.0  # seconds that the start of the process waits for the ledger
SWEEP_INTERVAL = 10.0  # seconds between searches for expired reservations
_READY_INTERVAL = 0.1  # seconds between two questions to a store that does not answer
_IDLE_INTERVAL = 0.01


class Application:
    """Gateway of one process: *public* for any ASGI server, *metrics* for the admin listener.

    *listener* is the same as *public* for our own listener, without the layers of Starlette around each request.

    *upstream* replaces the HTTP clients that *components* describe. *journal* takes the log records.
    """

    def __init__(
        self, components: Components, journal: JsonLogWriter, *, upstream: UpstreamClient | None = None
    ) -> None:
        self._journal = journal
        self._scripted_upstream = upstream
        self.end_process: Callable[[], NoReturn] = partial(sys.exit, 1)
        self.loop: asyncio.AbstractEventLoop | None = None
        self._starting: asyncio.Task[None] | None = None
        self._started_ledger: Ledger | None = None
        self._background: list[asyncio.Task[None]] = []
        self.reload_status = ReloadStatus()
        self._build(components, self._build_ledger(components))
        self.public = Starlette(middleware=[Middleware(self._middleware)], lifespan=self._lifespan)
        self.listener: ASGIApp = self._middleware(self.public)
        self.metrics = create_metrics(self.exposition)

    def _middleware(self, app: ASGIApp) -> ASGIApp:
        """Returns the gateway in front of *app*."""
        config = self._serving.components.config
        return with_tracing(GatewayMiddleware(app, self), config, lambda: self._state.tracer)

    def _build(self, components: Components, ledger: Ledger) -> None:
        """Builds all objects; none of them needs an event loop before `start`."""
        self._is_new = True
        self._state = build_process_state(components, self._journal, ledger, on_shutdown=self._on_shutdown)
        telemetry = self._state.telemetry
        telemetry.gauge("tasks", "Tasks of the event loop.", lambda: len(asyncio.all_tasks()))
        self._lags = telemetry.histogram(NAME, "Lateness of timers of the event loop.", BUCKETS)
        self._socket = build_ledger_socket(components, ledger)
        self._store_keys = components.store_keys
        self._serving = Serving(components, self._state, self._scripted_upstream)
        self.reporter = Reporter(self._state, lambda: self._serving)

    def _build_ledger(self, components: Components) -> Ledger:
        return build_ledger(components, report=lambda text: self._journal.write({"event": "ledger", "message": text}))

    @property
    def active(self) -> ActiveGateway:
        return self._serving.active

    @property
    def serving(self) -> Serving:
        return self._serving

    @property
    def names(self) -> UserNames:
        return self._state.names

    @property
    def connections(self) -> SharedState:
        return self._state.connections

    async def exposition(self) -> bytes:
        """Returns all metrics of this process in the Prometheus text format."""
        return await asyncio.to_thread(exposition, self.families())

    def families(self) -> list[Family]:
        """Returns all metrics of this process as values."""
        return [*self._state.telemetry.families(), *process_families()]

    async def warnings(self) -> tuple[str, ...]:
        """Returns problems outside of the configuration. Takes no longer than one call of the store."""
        try:
            return await self._state.ledger.warnings()
        except StoreAway as error:
            return (f"the settings of the ledger's server could not be read: {error.reason}",)

    def drain(self) -> None:
        """Turns `/readyz` red and makes every response close its connection; requests are still taken."""
        self._serving.readiness.draining = True
        self._state.connections.drain()

    async def wait_until_ready(self, timeout: float | None) -> None:
        """Waits at most *timeout* seconds until stores and session keys are there; None waits forever."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not await self._serving.readiness.dependencies_answer():  # noqa: ASYNC110 nothing is announced
                    await asyncio.sleep(_READY_INTERVAL)

    async def wait_until_idle(self, timeout: float) -> None:
        """Waits at most *timeout* seconds for requests under way, which a server may have cancelled."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._state.telemetry.active:  # noqa: ASYNC110 once, at the end of the process
                    await asyncio.sleep(_IDLE_INTERVAL)

    def reload(self, components: Components) -> None:
        """Serves by *components* from now on; requests under way finish by what they began with.

        Ledger, store, windows and streams stay. Jobs of endpoints that were removed can still be read. Raises
        ConfigError, which names the keys, for changes that need a restart.
        """
        previous = self._serving
        problems = restart_only_changes(previous.components.config, components.config, KEPT)
        if problems:
            raise ConfigError(problems)
        components = with_readable_jobs(replace(components, store=self._state.store), previous.components)
        self._state.adopt(components)
        serving = Serving(components, self._state, self._scripted_upstream)
        serving.readiness.draining = previous.readiness.draining
        serving.start()
        self._serving = serving
        self._background = [task for task in self._background if not task.done()]
        self._background.append(asyncio.create_task(previous.retire()))

    def record_reload(self, status: ReloadStatus) -> None:
        """Counts a reload, and keeps its result for the operator page."""
        self.reload_status, result = status, status.result
        self._state.telemetry.events("reloads", "Reloads of the configuration.", "result").add(result)

    def _on_shutdown(self) -> None:
        """Ends open streams; those that were paid for have as long as the longest call to complete."""
        self._serving.readiness.draining = True
        _, longest = self._serving.components.config.longest_call
        self._state.streams.drain(longest)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[Mapping[str, object]]:
        await self.start()
        yield {SHARED_STATE: self.connections}
        await self.stop()

    async def start(self) -> None:
        """Starts on the running event loop, once.

        An application that was stopped is built again. So is one whose event loop has ended, with a ledger of its own
        process. A test client may run each request in an event loop of its own.
        """
        loop = asyncio.get_running_loop()
        if self._starting is None or self._starting.get_loop() is not loop:
            self._starting = loop.create_task(self._start())
        await asyncio.shield(self._starting)

    async def _start(self) -> None:
        if not self._is_new:
            components = build_components(self._serving.components.config)
            ledger = self._state.ledger
            is_open = self._started_ledger is ledger and components.store is None
            self._build(components, ledger if is_open else self._build_ledger(components))
        self._is_new = False
        self._background = [asyncio.create_task(self._start_ledger()), asyncio.create_task(self._sweep())]
        self._background.append(asyncio.create_task(measure_loop_lag(self._lags)))
        self._background.append(asyncio.create_task(end_blocked_streams(self._state.streams, self._state.ledger)))
        self._background.append(asyncio.create_task(self.reporter.run()))
        self._serving.start()
        # An ordinary start takes milliseconds; a ledger whose file another process has goes on waiting, not ready.
        await asyncio.wait([self._background[0]], timeout=LEDGER_START)
        self.loop = asyncio.get_running_loop()

    async def stop(self) -> None:
        """Stops the background tasks, then closes clients, ledger and store in the order of their use."""
        await self._stop_clients()
        self._started_ledger = None
        await self._serving.accounting.aclose()
        self._state.body_thread.close()
        if self._state.tracer is not None:
            await self._state.tracer.aclose()
        await self._close_store()

    async def pause(self) -> None:
        """Leaves the event loop, which is about to end, but keeps a ledger of this process."""
        await self._stop_clients()
        await self._close_store()

    async def _stop_clients(self) -> None:
        self.loop = self._starting = None
        for task in self._background:
            task.cancel()
        if self._socket is not None:
            await self._socket.aclose()
        await self._serving.aclose()
        await self._state.revocations.aclose()
        self._state.rejections.report()

    async def _close_store(self) -> None:
        if self._state.store is not None:
            await self._state.store.aclose()

    async def _start_ledger(self) -> None:
        """Ends the process, by `end_process`, where the ledger cannot be used."""
        ledger = self._state.ledger
        if self._started_ledger is ledger:
            return
        self._started_ledger = ledger
        try:
            await ledger.start(now=time.time())
            with suppress(StoreAway):
                await check_privacy(ledger, self._store_keys, now=time.time())
        except ValueError as error:
            self._journal.write({"event": "ledger_refused", "message": str(error)})
            sys.stderr.write(f"{error}\n")
            self.end_process()
        await self._start_socket()

    async def _start_socket(self) -> None:
        """Starts the socket of commands.

        Without it the gateway runs as well, and commands report that they cannot reach it.
        """
        try:
            if self._socket is not None:
                await self._socket.start()
        except (OSError, ValueError) as error:
            self._journal.write({"event": "warning", "message": f"no socket for commands: {error}"})

    async def _sweep(self) -> None:
        clock = ClockWatch(time.time, time.monotonic)
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            self._state.rejections.report()
            hours = self._serving.components.config.privacy.requests_hours
            self._state.telemetry.recent.drop_ended(time.monotonic() - hours * HOUR)
            step = clock.step()
            if step is not None:
                self._journal.write({"event": "clock_step", "seconds": round(step, 1)})
            with suppress(StoreAway):
                await self._serving.accounting.sweep()

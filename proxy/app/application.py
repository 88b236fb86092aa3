"""Composition root: builds the gateway of one process from its components, starts and stops it."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware import Middleware

from proxy.app.asgi import ActiveGateway, GatewayMiddleware
from proxy.app.caller_pages import CallerPages
from proxy.app.pages import create_metrics, create_pages
from proxy.app.playground import playground_routes
from proxy.app.readiness import Readiness
from proxy.app.setup.billing.accounting import build_accounting, build_alerts
from proxy.app.setup.billing.ledgers import build_ledger, build_ledger_socket, ledger_metrics, store_metrics
from proxy.app.setup.billing.reconciler import build_reconciler
from proxy.app.setup.components import Components, build_components
from proxy.app.setup.gateway import build_gateway
from proxy.app.setup.session_runtime import SessionRuntime
from proxy.app.setup.upstream.clients import build_stream_limits
from proxy.app.setup.upstream.relay import build_upstream
from proxy.app.setup.webhooks import WebhookComponents, build_webhooks
from proxy.billing.ledger.interface import JobLedger
from proxy.billing.reservations import Accounting
from proxy.errors import StoreAway
from proxy.gateway.gateway import Gateway
from proxy.gateway.streams.blocked_streams import end_blocked_streams
from proxy.gateway.streams.stream_slots import StreamRegistry
from proxy.http.base_path import BasePath
from proxy.http.client_address import ClientAddress
from proxy.http.cors import Cors
from proxy.http.fields import Fields
from proxy.http.request_body import BodyBudget
from proxy.http.server.limits import ConnectionLimits
from proxy.http.server.state import SHARED_STATE, SharedState
from proxy.payload.policy import Policy
from proxy.ratelimit.rate_limiter import RateLimiter
from proxy.ratelimit.redis_sliding_window import RedisWindowStore
from proxy.ratelimit.sliding_window import MemoryWindowStore, WindowStore
from proxy.telemetry.clock_watch import ClockWatch
from proxy.telemetry.json_log import JsonLogWriter
from proxy.telemetry.metrics import Telemetry
from proxy.upstream.relay import UpstreamClient

LEDGER_START = 1.0  # seconds that the start of the process waits for the ledger
SWEEP_INTERVAL = 10.0  # seconds between searches for expired reservations
BODY_BUDGET = 256 * 1024 * 1024  # bytes of request bodies in flight in one worker
_READY_INTERVAL = 0.1  # seconds between two questions to a store that does not answer
_IDLE_INTERVAL = 0.01


class Application:
    """Gateway of one process: *public* for the public listener, *metrics* for the admin one.

    *upstream* replaces the HTTP clients that *components* describe. *journal* takes the log records.
    """

    def __init__(
        self, components: Components, journal: JsonLogWriter, *, upstream: UpstreamClient | None = None
    ) -> None:
        self._journal = journal
        self._scripted_upstream = upstream
        self.loop: asyncio.AbstractEventLoop | None = None
        self._starting: asyncio.Task[None] | None = None
        self._started_ledger: JobLedger | None = None
        self._build(components, build_ledger(components, report=self._report_ledger))
        self.public = Starlette(middleware=[Middleware(GatewayMiddleware, self)], lifespan=self._lifespan)
        self.metrics = create_metrics(self.exposition)

    def _build(self, components: Components, ledger: JobLedger) -> None:
        """Builds all objects; none of them needs an event loop before `start`."""
        journal = self._journal
        self._is_new = True
        self._lost_settlements = 0
        self._components = components
        self._policy = Policy(components.policies)
        self._streams = StreamRegistry(build_stream_limits(components), clock=time.time)
        self._sessions = SessionRuntime(components, journal, self._streams.end_sessions)
        self._telemetry = self._build_telemetry(journal)
        self._ledger = ledger
        ledger_metrics(self._telemetry, self._ledger)
        self._upstream = build_upstream(components, self._ledger, self._telemetry, journal, self._scripted_upstream)
        self._alerts = build_alerts(self._telemetry, journal)
        self._accounting = self._build_accounting()
        self._accounting.looks = self._reconciler = build_reconciler(
            self._ledger,
            self._upstream,
            self._accounting.settle_job,
            self._telemetry,
            reads_units=components.settlement_policy.settle_by == "billable",
        )
        self._socket = build_ledger_socket(components, self._ledger)
        self._body_budget = BodyBudget(BODY_BUDGET)
        self._webhooks = self._build_webhooks(journal)
        self._alerts.sender = None if self._webhooks is None else self._webhooks.deliveries
        stores = (self._ledger,) if components.store is None else (self._ledger, components.store)
        self._readiness = Readiness(
            stores, lambda: self._upstream.state, self._sessions.remote_keys, self._ledger.notices
        )
        self.connections = self._build_shared_state()
        self.active = self._build_active()

    def exposition(self) -> bytes:
        """Returns all metrics of this process in the Prometheus text format."""
        return self._telemetry.exposition()

    async def warnings(self) -> tuple[str, ...]:
        """Returns problems outside of the configuration. Takes no longer than one call of the store."""
        try:
            return await self._ledger.warnings()
        except StoreAway as error:
            return (f"the settings of the ledger's server could not be read: {error.reason}",)

    def drain(self) -> None:
        """Turns `/readyz` red and makes every response close its connection; requests are still taken."""
        self._readiness.draining = True
        self.connections.drain()

    async def wait_until_ready(self, timeout: float | None) -> None:
        """Waits until stores and session keys are there, at most *timeout* seconds (None: as long as it takes)."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not await self._readiness.dependencies_answer():  # noqa: ASYNC110 a store announces nothing
                    await asyncio.sleep(_READY_INTERVAL)

    async def wait_until_idle(self, timeout: float) -> None:
        """Waits at most *timeout* seconds for requests under way, which a server may have cancelled."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._telemetry.active:  # noqa: ASYNC110 once, at the end of the process
                    await asyncio.sleep(_IDLE_INTERVAL)

    def _build_shared_state(self) -> SharedState:
        server, limits = self._components.config.server, ConnectionLimits()
        # Behind front proxies of unknown addresses all connections are theirs.
        per_address = server.max_connections_per_address if server.trusted_hops is None else limits.connections
        return SharedState(
            limits=replace(limits, per_address=per_address),
            trusted=server.trusted_proxies,
            on_rejected=self._telemetry.count_early_rejection,
            on_shutdown=self._on_shutdown,
            headers=_transport_security(server.hsts_seconds),
        )

    def _on_shutdown(self) -> None:
        """Ends open streams; those that were paid for have as long as the longest call to complete."""
        self._readiness.draining = True
        _, longest = self._components.config.longest_call
        self._streams.drain(longest)

    def _build_active(self) -> ActiveGateway:
        server = self._components.config.server
        return ActiveGateway(
            gateway=self._build_gateway(),
            callbacks=None if self._webhooks is None else self._webhooks.callbacks,
            pages=self._build_pages(),
            public_origin=server.public_origin,
            base_path=BasePath(server.prefix),
            allowed_hosts=frozenset(host.lower().encode("ascii") for host in server.allowed_hosts),
            client_address=ClientAddress(server.trusted_proxies, server.forwarded_header, hops=server.trusted_hops),
            cors=Cors(server.cors_origins, headers=server.cors_headers, expose=server.cors_expose),
            telemetry=self._telemetry,
            limits=self.connections.limits,
            headers=self.connections.headers,
        )

    def _build_pages(self) -> Starlette:
        components = self._components
        caller_pages = CallerPages(
            authenticator=self._sessions.authenticator,
            cookie=None if components.cookie is None else components.cookie.name.decode("ascii"),
            listings=components.listings,
            policy=self._policy,
            accounting=self._accounting,
            jobs=components.config.jobs.enabled,
        )
        return create_pages(
            prefix=components.config.server.prefix,
            readiness=self._readiness,
            caller_pages=caller_pages,
            session_page=self._sessions.page(self._limiter, self._body_budget),
            routes=playground_routes(components.config, caller_pages.authenticate),
        )

    def _build_telemetry(self, journal: JsonLogWriter) -> Telemetry:
        telemetry = Telemetry(journal, CollectorRegistry())
        telemetry.gauge("streams_open", "Answers that stay open.", lambda: len(self._streams))
        telemetry.gauge("tasks", "Tasks of the event loop.", lambda: len(asyncio.all_tasks()))
        telemetry.counters(
            "unknown_fields",
            "Requests with a field that the endpoint's schema does not have.",
            ("endpoint", "field"),
            lambda: self._policy.unknown_fields(),
        )
        telemetry.counter(
            "settlements_lost", "Outcomes the ledger could not take down.", lambda: self._lost_settlements
        )
        self._sessions.register_metrics(telemetry)
        if (store := self._components.store) is not None:
            store_metrics(telemetry, store)
        return telemetry

    def _build_gateway(self) -> Gateway:
        return build_gateway(
            self._components,
            authenticator=self._sessions.authenticator,
            policy=self._policy,
            body_budget=self._body_budget,
            accounting=self._accounting,
            relay=self._upstream.relay,
            streams=self._streams,
            callback_urls=None if self._webhooks is None else self._webhooks.urls,
            settlement_lost=self._settlement_lost,
        )

    def _build_webhooks(self, journal: JsonLogWriter) -> WebhookComponents | None:
        return build_webhooks(
            self._components,
            ledger=self._ledger,
            accounting=self._accounting,
            body_budget=self._body_budget,
            journal=journal,
            away=self._settlement_lost,
        )

    def _build_accounting(self) -> Accounting:
        components = self._components
        windows: WindowStore = MemoryWindowStore(components.rules, time.monotonic)
        if components.store is not None:
            windows = RedisWindowStore(components.store)
        self._limiter = RateLimiter(components.rules, windows, time.monotonic)
        return build_accounting(
            components,
            self._limiter,
            self._ledger,
            self._telemetry,
            self._alerts,
            settlement_lost=self._settlement_lost,
        )

    def _report_ledger(self, message: str) -> None:
        self._journal.write({"event": "ledger", "message": message})

    def _settlement_lost(self) -> None:
        self._lost_settlements += 1

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[Mapping[str, object]]:
        await self.start()
        yield {SHARED_STATE: self.connections}
        await self.stop()

    async def start(self) -> None:
        """Starts on the running event loop, once.

        An application that was stopped is built again. So is one whose event loop has ended, with its ledger where
        that is of this process alone: a test client may run each request in an event loop of its own.
        """
        loop = asyncio.get_running_loop()
        if self._starting is None or self._starting.get_loop() is not loop:
            self._starting = loop.create_task(self._start())
        await asyncio.shield(self._starting)

    async def _start(self) -> None:
        if not self._is_new:
            components = build_components(self._components.config)
            is_open = self._started_ledger is self._ledger and components.store is None
            kept = self._ledger if is_open else build_ledger(components, report=self._report_ledger)
            self._build(components, kept)
        self._is_new = False
        self._background = [asyncio.create_task(self._start_ledger()), asyncio.create_task(self._sweep())]
        self._background.append(asyncio.create_task(self._reconciler.run()))
        self._background.append(asyncio.create_task(end_blocked_streams(self._streams, self._ledger)))
        self._sessions.start()
        # An ordinary start takes milliseconds; a ledger whose file another process has goes on waiting, not ready.
        await asyncio.wait([self._background[0]], timeout=LEDGER_START)
        self.loop = asyncio.get_running_loop()

    async def stop(self) -> None:
        """Stops the background tasks, then closes clients, ledger and store in the order of their use."""
        await self._stop_clients()
        self._started_ledger = None
        await self._accounting.aclose()
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
        await self._reconciler.aclose()
        await self._sessions.aclose()
        await self._upstream.aclose()
        await self._alerts.aclose()
        if self._webhooks is not None:
            await self._webhooks.deliveries.aclose()

    async def _close_store(self) -> None:
        if self._components.store is not None:
            await self._components.store.aclose()

    async def _start_ledger(self) -> None:
        """Ends the process where the ledger cannot be used."""
        if self._started_ledger is self._ledger:
            return
        self._started_ledger = self._ledger
        try:
            await self._ledger.start(now=time.time())
        except ValueError as error:
            self._journal.write({"event": "ledger_refused", "message": str(error)})
            sys.stderr.write(f"{error}\n")
            raise SystemExit(1) from error
        await self._start_socket()

    async def _start_socket(self) -> None:
        """Without its socket the gateway runs as well, and commands report that they cannot reach it."""
        try:
            if self._socket is not None:
                await self._socket.start()
        except (OSError, ValueError) as error:
            self._journal.write({"event": "warning", "message": f"no socket for commands: {error}"})

    async def _sweep(self) -> None:
        clock = ClockWatch(time.time, time.monotonic)
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            step = clock.step()
            if step is not None:
                self._journal.write({"event": "clock_step", "seconds": round(step, 1)})
            with suppress(StoreAway):
                await self._accounting.sweep()


def _transport_security(seconds: int) -> Fields:
    """Returns the field of RFC 6797, without subdomains, which may belong to somebody else."""
    return [(b"strict-transport-security", b"max-age=%d" % seconds)] if seconds else []

"""Puts vetted parts together into the application. Constructs and connects; decides nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.types import ASGIApp, Scope

from proxy.app.asgi import AsgiApp
from proxy.app.openapi import openapi_document
from proxy.app.pages import create_metrics, create_pages
from proxy.app.playground import playground_routes
from proxy.app.setup.components import Components
from proxy.app.setup.ledgers import build_ledger, build_local_ledger
from proxy.app.setup.upstream_clients import build_clients, build_stream_clients, build_stream_limits
from proxy.app.setup.webhooks import WebhookComponents, build_webhooks
from proxy.auth.authenticator import Authenticator
from proxy.auth.caller import Caller
from proxy.auth.authorization import Authorization
from proxy.billing.reservations import Accounting
from proxy.billing.usage_report import format_usage
from proxy.circuit_breaker import Breaker, BreakerSettings
from proxy.errors import StoreAway
from proxy.fal_api.operations import Surface
from proxy.gateway.gateway import Gateway
from proxy.gateway.idempotency import IdempotencyKeys
from proxy.gateway.job_responses import JobResponses
from proxy.gateway.stream_slots import StreamRegistry
from proxy.http.client_address import client_address
from proxy.http.cors import Cors
from proxy.http.fields import Fields
from proxy.http.request_body import BodyBudget
from proxy.payload.policy import Policy
from proxy.ratelimit.failed_logins import FailedLogins
from proxy.ratelimit.rate_limiter import RateLimiter
from proxy.ratelimit.redis_sliding_window import RedisWindowStore
from proxy.ratelimit.sliding_window import MemoryWindowStore, WindowStore
from proxy.strict_json import Json
from proxy.telemetry.json_log import JsonLogWriter
from proxy.telemetry.metrics import Telemetry
from proxy.upstream import relay
from proxy.upstream.relay import Deadlines, Relay

SWEEP_EVERY = 10.0  # seconds between looks for reservations past their time
BODY_BUDGET = 256 * 1024 * 1024  # bytes of request bodies in flight in one worker
FAILED_LOGINS = 30  # bad sessions from one address in FAILED_LOGINS_WINDOW seconds; a further one is not looked at
FAILED_LOGINS_WINDOW = 60


class Application:
    """*public* for the public listener, *metrics* for the admin one. Set *draining* to turn `/readyz` red.

    *upstream* takes the place of the HTTP clients that *parts* describe.
    """

    def __init__(
        self, parts: Components, journal: JsonLogWriter, *, upstream: relay.UpstreamClient | None = None
    ) -> None:
        server = parts.config.server
        self.draining = False
        self._lost_settlements = 0
        self._parts = parts
        self._authenticator = Authenticator(parts.issuers, clock=time.time)
        self._cookie = parts.cookie
        self._breaker = Breaker(BreakerSettings(), clock=time.monotonic)
        self._policy = Policy(parts.policies)
        self._trusted = server.trusted_proxies
        self._forwarded_header = server.forwarded_header.encode("ascii")
        self._public_url = f"{server.public_origin}{server.prefix}"
        self._upstreams = build_clients(parts) if upstream is None else dict.fromkeys(Surface, upstream)
        self._stream_upstreams = build_stream_clients(parts) if upstream is None else self._upstreams
        self._streams = StreamRegistry(build_stream_limits(parts), clock=time.time)
        self._telemetry = self._build_telemetry(journal)
        self._ledger = build_ledger(parts)
        self._spending = self._build_accounting()
        self._body_budget = BodyBudget(BODY_BUDGET)
        self._webhooks = self._build_webhooks(journal)
        self.public: ASGIApp = AsgiApp(
            gateway=self._build_gateway(),
            site=create_pages(
                prefix=server.prefix,
                readiness=self._readiness,
                describe=self._describe,
                usage=self._usage,
                lifespan=self._lifespan,
                pages=playground_routes(parts.config, self._reader),
            ),
            prefix=server.prefix,
            allowed_hosts=frozenset(host.lower().encode("ascii") for host in server.allowed_hosts),
            address_of=self._address_of,
            cors=Cors(server.cors_origins),
            telemetry=self._telemetry,
            callbacks=None if self._webhooks is None else self._webhooks.callbacks,
        )
        self.metrics: ASGIApp = create_metrics(self._telemetry.exposition)

    def _build_telemetry(self, journal: JsonLogWriter) -> Telemetry:
        telemetry = Telemetry(journal, CollectorRegistry())
        telemetry.gauge(
            "upstream_active",
            "Exchanges with fal under way.",
            lambda: sum(upstream.active for upstream in self._clients()),
        )
        telemetry.gauge(
            "upstream_idle",
            "Connections to fal kept open.",
            lambda: sum(upstream.idle for upstream in self._clients()),
        )
        telemetry.gauge("streams_open", "Answers that stay open.", lambda: len(self._streams))
        telemetry.gauge("tasks", "Tasks of the event loop.", lambda: len(asyncio.all_tasks()))
        telemetry.gauge("upstream_breaker_open", "1 while fal is not asked.", lambda: self._breaker.is_open)
        telemetry.counter(
            "settlements_lost", "Outcomes the ledger could not take down.", lambda: self._lost_settlements
        )
        if (store := self._parts.store) is not None:
            telemetry.counter("store_failures", "Calls the store did not answer in time.", lambda: store.failures)
        return telemetry

    def count_early_rejection(self, error_type: str) -> None:
        """Counts what the listener turned away before there was a request to log."""
        self._telemetry.count_early_rejection(error_type)

    async def warnings(self) -> tuple[str, ...]:
        """What the operator should see to outside of the configuration. Takes no longer than a call of the store."""
        try:
            return await self._ledger.warnings()
        except StoreAway as error:
            return (f"the ledger's server did not say how it keeps what it is told: {error.reason}",)

    def end_streams(self, grace: float) -> None:
        """Those that were paid for have *grace* seconds to come to their end."""
        self._streams.drain(grace)

    def _clients(self) -> tuple[relay.UpstreamClient, ...]:
        return (*self._upstreams.values(), *self._stream_upstreams.values())

    def _build_gateway(self) -> Gateway:
        parts, fal = self._parts, self._parts.config.fal
        return Gateway(
            authenticator=self._authenticator,
            cookie=self._cookie,
            failed_logins=FailedLogins(FAILED_LOGINS, FAILED_LOGINS_WINDOW, time.monotonic),
            ownership=Authorization(parts.listings, parts.handles),
            policy=self._policy,
            issues=parts.rest_actions.issues,
            replays=IdempotencyKeys(self._ledger, parts.idempotency, clock=time.time, away=self._settlement_lost),
            spending=self._spending,
            relay=Relay(
                self._upstreams,
                parts.fal_key,
                breaker=self._breaker,
                deadlines=Deadlines(fal.submit_seconds, fal.poll_seconds, fal.run_seconds),
                streams=self._stream_upstreams,
            ),
            answers=JobResponses(self._public_url),
            streams=self._streams,
            max_body=parts.config.server.max_body_bytes,
            body_budget=self._body_budget,
            webhook_hosts=frozenset(parts.config.webhooks.hosts),
            callback_urls=None if self._webhooks is None else self._webhooks.urls,
        )

    def _build_webhooks(self, journal: JsonLogWriter) -> WebhookComponents | None:
        return build_webhooks(
            self._parts,
            ledger=self._ledger,
            spending=self._spending,
            body_budget=self._body_budget,
            journal=journal,
            away=self._settlement_lost,
        )

    def _build_accounting(self) -> Accounting:
        parts = self._parts
        windows: WindowStore = MemoryWindowStore(parts.rules, time.monotonic)
        if parts.store is not None:
            windows = RedisWindowStore(parts.store)
        return Accounting(
            RateLimiter(parts.rules, windows, time.monotonic),
            self._ledger,
            local=build_local_ledger(parts, self._ledger),
            budgets=parts.budgets,
            in_flight=parts.in_flight,
            prices=parts.prices,
            terms=parts.settlement_policy,
            clock=time.time,
            away=self._settlement_lost,
        )

    def _settlement_lost(self) -> None:
        self._lost_settlements += 1

    def _address_of(self, scope: Scope) -> str:
        peer = scope["client"][0] if scope["client"] else ""
        return client_address(peer, scope["headers"], trusted=self._trusted, header=self._forwarded_header)

    def _describe(self, fields: Fields) -> Json:
        self._reader(fields)
        cookie = None if self._cookie is None else self._cookie.name.decode("ascii")
        return openapi_document(self._parts.listings, self._policy, public_url=self._public_url, cookie=cookie)

    async def _usage(self, fields: Fields) -> Json:
        """What this caller has left, through all that is listed. Raises as `identify` does, and StoreAway."""
        caller = self._reader(fields)
        standings = await self._spending.allowances(caller, tuple(listing.endpoint for listing in self._parts.listings))
        return format_usage(standings)

    def _reader(self, fields: Fields) -> Caller:
        """Who reads one of the site's own pages; all of them are for GET."""
        return self._authenticator.identify(
            fields if self._cookie is None else self._cookie.as_authorization("GET", fields)
        )

    async def _readiness(self) -> tuple[bool, Mapping[str, str]]:
        """fal's silence is told but does not count: it would take every replica away at once, and helps nobody."""
        store = await self._store_answers()
        return store and not self.draining, {
            "serving": "draining" if self.draining else "ok",
            "store": "ok" if store else "not answering",
            "upstream": "not answering" if self._breaker.is_open else "ok",
        }

    async def _store_answers(self) -> bool:
        try:
            await self._ledger.ping()
            if self._parts.store is not None:
                await self._parts.store.ping()
        except StoreAway:
            return False
        return True

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(self._sweep())
        yield
        sweeping.cancel()
        for upstream in self._clients():
            await upstream.aclose()
        if self._webhooks is not None:
            await self._webhooks.deliveries.aclose()
        await self._spending.aclose()
        if self._parts.store is not None:
            await self._parts.store.aclose()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            with suppress(StoreAway):
                await self._spending.sweep()

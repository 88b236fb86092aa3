"""Puts vetted parts together into the application. Constructs and connects; decides nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.types import ASGIApp, Scope

from proxy.app.asgi import Front
from proxy.app.openapi import describe
from proxy.app.pages import create_metrics, create_site
from proxy.app.playground import showcase
from proxy.app.setup.components import Parts
from proxy.app.setup.ledgers import ledger_of, local_of
from proxy.app.setup.upstream_clients import bounds_of, stream_upstreams_of, upstreams_of
from proxy.app.setup.webhooks import WebhookLine, webhook_line
from proxy.auth.authenticator import Authenticator, Caller
from proxy.auth.authorization import Ownership
from proxy.billing.reservations import Spending
from proxy.billing.usage_report import usage_of
from proxy.circuit_breaker import Breaker, BreakerSettings
from proxy.errors import StoreAway
from proxy.fal_api.operations import Surface
from proxy.gateway.gateway import Gateway
from proxy.gateway.idempotency import Replays
from proxy.gateway.job_responses import JobAnswers
from proxy.gateway.stream_slots import Streams
from proxy.http.client_address import client_address
from proxy.http.cors import Cors
from proxy.http.fields import Fields
from proxy.http.request_body import BodyBudget
from proxy.payload.policy import Policy
from proxy.ratelimit.failed_logins import FailedLogins
from proxy.ratelimit.rate_limiter import RateLimiter
from proxy.ratelimit.redis_sliding_window import RedisWindows
from proxy.ratelimit.sliding_window import MemoryWindows, Windows
from proxy.strict_json import Json
from proxy.telemetry.json_log import Journal
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

    def __init__(self, parts: Parts, journal: Journal, *, upstream: relay.Upstream | None = None) -> None:
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
        self._upstreams = upstreams_of(parts) if upstream is None else dict.fromkeys(Surface, upstream)
        self._stream_upstreams = stream_upstreams_of(parts) if upstream is None else self._upstreams
        self._streams = Streams(bounds_of(parts), clock=time.time)
        self._telemetry = self._make_telemetry(journal)
        self._ledger = ledger_of(parts)
        self._spending = self._make_spending()
        self._body_budget = BodyBudget(BODY_BUDGET)
        self._webhooks = self._webhook_line(journal)
        self.public: ASGIApp = Front(
            gateway=self._gateway(),
            site=create_site(
                prefix=server.prefix,
                readiness=self._readiness,
                describe=self._describe,
                usage=self._usage,
                lifespan=self._lifespan,
                pages=showcase(parts.config, self._reader),
            ),
            prefix=server.prefix,
            allowed_hosts=frozenset(host.lower().encode("ascii") for host in server.allowed_hosts),
            address_of=self._address_of,
            cors=Cors(server.cors_origins),
            telemetry=self._telemetry,
            callbacks=None if self._webhooks is None else self._webhooks.callbacks,
        )
        self.metrics: ASGIApp = create_metrics(self._telemetry.exposition)

    def _make_telemetry(self, journal: Journal) -> Telemetry:
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

    def refused_early(self, error_type: str) -> None:
        """Counts what the listener turned away before there was a request to log."""
        self._telemetry.refused_early(error_type)

    async def warnings(self) -> tuple[str, ...]:
        """What the operator should see to outside of the configuration. Takes no longer than a call of the store."""
        try:
            return await self._ledger.warnings()
        except StoreAway as error:
            return (f"the ledger's server did not say how it keeps what it is told: {error.reason}",)

    def end_streams(self, grace: float) -> None:
        """Those that were paid for have *grace* seconds to come to their end."""
        self._streams.drain(grace)

    def _clients(self) -> tuple[relay.Upstream, ...]:
        return (*self._upstreams.values(), *self._stream_upstreams.values())

    def _gateway(self) -> Gateway:
        parts, fal = self._parts, self._parts.config.fal
        return Gateway(
            authenticator=self._authenticator,
            cookie=self._cookie,
            failed_logins=FailedLogins(FAILED_LOGINS, FAILED_LOGINS_WINDOW, time.monotonic),
            ownership=Ownership(parts.listings, parts.handles),
            policy=self._policy,
            issues=parts.openings.issues,
            replays=Replays(self._ledger, parts.keeping, clock=time.time, away=self._settlement_lost),
            spending=self._spending,
            relay=Relay(
                self._upstreams,
                parts.fal_key,
                breaker=self._breaker,
                deadlines=Deadlines(fal.submit_seconds, fal.poll_seconds, fal.run_seconds),
                streams=self._stream_upstreams,
            ),
            answers=JobAnswers(self._public_url),
            streams=self._streams,
            max_body=parts.config.server.max_body_bytes,
            body_budget=self._body_budget,
            webhook_hosts=frozenset(parts.config.webhooks.hosts),
            callback_urls=None if self._webhooks is None else self._webhooks.urls,
        )

    def _webhook_line(self, journal: Journal) -> WebhookLine | None:
        return webhook_line(
            self._parts,
            ledger=self._ledger,
            spending=self._spending,
            body_budget=self._body_budget,
            journal=journal,
            away=self._settlement_lost,
        )

    def _make_spending(self) -> Spending:
        parts = self._parts
        windows: Windows = MemoryWindows(parts.rules, time.monotonic)
        if parts.store is not None:
            windows = RedisWindows(parts.store)
        return Spending(
            RateLimiter(parts.rules, windows, time.monotonic),
            self._ledger,
            local=local_of(parts, self._ledger),
            budgets=parts.budgets,
            in_flight=parts.in_flight,
            prices=parts.prices,
            terms=parts.terms,
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
        return describe(self._parts.listings, self._policy, public_url=self._public_url, cookie=cookie)

    async def _usage(self, fields: Fields) -> Json:
        """What this caller has left, through all that is listed. Raises as `identify` does, and StoreAway."""
        caller = self._reader(fields)
        standings = await self._spending.standings(caller, tuple(listing.endpoint for listing in self._parts.listings))
        return usage_of(standings)

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

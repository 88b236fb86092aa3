"""Puts vetted parts together into the application. Constructs and connects; decides nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.types import ASGIApp, Scope

from proxy import relay
from proxy.addresses import client_address
from proxy.answers import JobAnswers
from proxy.bodies import BodyBudget
from proxy.breaker import Breaker, BreakerSettings
from proxy.cors import Cors
from proxy.description import describe
from proxy.errors import StoreAway
from proxy.front import Front
from proxy.gateway import Gateway
from proxy.headers import Fields
from proxy.identity import Authenticator
from proxy.journal import Journal
from proxy.jsontext import Json
from proxy.limits import FailedLogins, RateLimiter
from proxy.ownership import Ownership
from proxy.parts import Parts
from proxy.policy import Policy
from proxy.relay import Deadlines, Relay
from proxy.site import create_metrics, create_site
from proxy.telemetry import Telemetry
from proxy.upstream import Origin, Upstream
from proxy.windows import MemoryWindows, RedisWindows, Windows

BODY_BUDGET = 256 * 1024 * 1024  # bytes of request bodies in flight in one worker
FAILED_LOGINS = 30  # bad sessions from one address in FAILED_LOGINS_WINDOW seconds; a further one is not looked at
FAILED_LOGINS_WINDOW = 60


class Application:
    """*public* for the public listener, *metrics* for the admin one. Set *draining* to turn `/readyz` red.

    *upstream* takes the place of the HTTP client that *parts* describe.
    """

    def __init__(self, parts: Parts, journal: Journal, *, upstream: relay.Upstream | None = None) -> None:
        server, fal = parts.config.server, parts.config.fal
        self.draining = False
        self._parts = parts
        self._authenticator = Authenticator(parts.issuers, clock=time.time)
        self._breaker = Breaker(BreakerSettings(), clock=time.monotonic)
        self._policy = Policy(parts.policies)
        self._public_url = f"{server.public_origin}{server.prefix}"
        self._upstream = upstream or Upstream(
            Origin.parse(fal.queue_origin),
            tls=parts.tls,
            max_connections=fal.max_connections,
            connect_timeout=fal.connect_seconds,
        )
        self._telemetry = Telemetry(journal, CollectorRegistry())
        self.public: ASGIApp = Front(
            gateway=self._gateway(),
            site=create_site(
                prefix=server.prefix, readiness=self._readiness, describe=self._describe, lifespan=self._lifespan
            ),
            prefix=server.prefix,
            allowed_hosts=frozenset(host.encode("ascii") for host in server.allowed_hosts),
            address_of=self._address_of,
            cors=Cors(server.cors_origins),
            telemetry=self._telemetry,
        )
        self.metrics: ASGIApp = create_metrics(self._telemetry.exposition)

    def refused_early(self, error_type: str) -> None:
        """Counts what the listener turned away before there was a request to log."""
        self._telemetry.refused_early(error_type)

    def _gateway(self) -> Gateway:
        parts, fal = self._parts, self._parts.config.fal
        windows: Windows = MemoryWindows(parts.rules, time.monotonic)
        if parts.store is not None:
            windows = RedisWindows(parts.store)
        return Gateway(
            authenticator=self._authenticator,
            failed_logins=FailedLogins(FAILED_LOGINS, FAILED_LOGINS_WINDOW, time.monotonic),
            ownership=Ownership(parts.listings, parts.handles),
            policy=self._policy,
            limiter=RateLimiter(parts.rules, windows, time.monotonic),
            relay=Relay(
                self._upstream,
                parts.fal_key,
                breaker=self._breaker,
                deadlines=Deadlines(submit=fal.submit_seconds, poll=fal.poll_seconds),
            ),
            answers=JobAnswers(self._public_url),
            max_body=parts.config.server.max_body_bytes,
            body_budget=BodyBudget(BODY_BUDGET),
        )

    def _address_of(self, scope: Scope) -> str:
        server = self._parts.config.server
        peer = scope["client"][0] if scope["client"] else ""
        return client_address(
            peer, scope["headers"], trusted=server.trusted_proxies, header=server.forwarded_header.encode("ascii")
        )

    def _describe(self, fields: Fields) -> Json:
        self._authenticator.identify(fields)
        return describe(self._parts.listings, self._policy, public_url=self._public_url)

    async def _readiness(self) -> tuple[bool, Mapping[str, str]]:
        """fal's silence is told but does not count: it would take every replica away at once, and helps nobody."""
        store = await self._store_answers()
        return store and not self.draining, {
            "serving": "draining" if self.draining else "ok",
            "store": "ok" if store else "not answering",
            "upstream": "not answering" if self._breaker.is_open else "ok",
        }

    async def _store_answers(self) -> bool:
        if self._parts.store is None:
            return True
        try:
            await self._parts.store.ping()
        except StoreAway:
            return False
        return True

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        yield
        await self._upstream.aclose()
        if self._parts.store is not None:
            await self._parts.store.aclose()

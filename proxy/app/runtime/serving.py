"""Objects that a reload replaces: sessions, policies, relay, accounting, pages."""

from __future__ import annotations

import asyncio
import time
import weakref

from starlette.applications import Starlette

from proxy.app.asgi import ActiveGateway
from proxy.app.caller_pages import CallerPages
from proxy.app.pages import create_pages
from proxy.app.playground import playground_routes
from proxy.app.readiness import Readiness
from proxy.app.runtime.process_state import ProcessState
from proxy.app.setup.billing.accounting import build_accounting, build_alerts
from proxy.app.setup.billing.reconciler import build_reconciler
from proxy.app.setup.components import Components
from proxy.app.setup.gateway import build_gateway
from proxy.app.setup.session_runtime import SessionRuntime
from proxy.app.setup.upstream.relay import Upstream, build_upstream
from proxy.app.setup.webhooks import build_webhooks
from proxy.http.base_path import BasePath
from proxy.http.client_address import ClientAddress
from proxy.http.cors import Cors
from proxy.payload.policy import Policy
from proxy.ratelimit.rate_limiter import RateLimiter
from proxy.upstream.relay import UpstreamClient

_IDLE_INTERVAL = 1.0  # seconds between two looks at requests that began before a reload


class Serving:
    """Requests served by one configuration, over the *state* of the process.

    *upstream* replaces the HTTP clients.
    """

    def __init__(self, components: Components, state: ProcessState, upstream: UpstreamClient | None) -> None:
        self.components = components
        self._state = state
        telemetry, journal = state.telemetry, state.journal
        self._policy = Policy(components.policies)
        self._sessions = SessionRuntime(
            components, journal, store=state.store, revocations=state.revocations, login_limit=state.login_limit
        )
        self._sessions.register_metrics(telemetry)
        telemetry.counters(
            "unknown_fields",
            "Requests with a field that the endpoint's schema does not have.",
            ("endpoint", "field"),
            lambda: self._policy.unknown_fields(),
        )
        self._upstream = build_upstream(
            components, state.ledger, telemetry, journal, client=upstream, tracer=state.tracer
        )
        self._alerts = build_alerts(telemetry, journal)
        self._limiter = RateLimiter(components.rules, state.windows, time.monotonic)
        self.accounting = build_accounting(
            components,
            self._limiter,
            state.ledger,
            self._alerts,
            settlement_lost=state.settlement_lost,
        )
        self.accounting.looks = self._reconciler = build_reconciler(
            state.ledger,
            self._upstream,
            self.accounting.settle_job,
            telemetry,
            reads_units=components.settlement_policy.settle_by == "billable",
        )
        self._reconciling: asyncio.Task[None] | None = None
        self._webhooks = build_webhooks(
            components,
            ledger=state.ledger,
            accounting=self.accounting,
            body_budget=state.body_budget,
            journal=journal,
            away=state.settlement_lost,
        )
        self._alerts.sender = None if self._webhooks is None else self._webhooks.deliveries
        stores = (state.ledger,) if state.store is None else (state.ledger, state.store)
        self.readiness = Readiness(
            stores,
            lambda: self._upstream.state,
            self._sessions.remote_keys,
            state.ledger.notices,
            lambda: self._upstream.key_states,
        )
        self.active = self._build_active()

    @property
    def upstream(self) -> Upstream:
        return self._upstream

    def start(self) -> None:
        """Starts the background tasks on the running event loop."""
        self._sessions.start()
        self._reconciling = asyncio.create_task(self._reconciler.run())

    async def aclose(self) -> None:
        """Stops the background tasks and closes all clients, those in use too."""
        await self._stop_reconciler()
        await self._sessions.aclose()
        await self._upstream.aclose()
        await self._alerts.aclose()
        if self._webhooks is not None:
            await self._webhooks.deliveries.aclose()

    async def retire(self) -> None:
        """Waits for the requests that began before a reload, then closes the clients.

        A request refers to the objects that serve it, also while it has not called fal yet.
        """
        await self._stop_reconciler()
        in_use = weakref.ref(self.active)
        del self.active
        while in_use() is not None or any(client.active for client in self._upstream.clients):  # noqa: ASYNC110
            await asyncio.sleep(_IDLE_INTERVAL)
        await self.aclose()

    async def _stop_reconciler(self) -> None:
        if self._reconciling is not None:
            self._reconciling.cancel()
        await self._reconciler.aclose()

    def _build_active(self) -> ActiveGateway:
        server, state = self.components.config.server, self._state
        return ActiveGateway(
            gateway=build_gateway(
                self.components,
                authenticator=self._sessions.authenticator,
                policy=self._policy,
                body_budget=state.body_budget,
                body_thread=state.body_thread,
                accounting=self.accounting,
                relay=self._upstream.relay,
                streams=state.streams,
                callback_urls=None if self._webhooks is None else self._webhooks.urls,
                settlement_lost=state.settlement_lost,
                names=state.names if self.components.config.admin.show_users else None,
            ),
            callbacks=None if self._webhooks is None else self._webhooks.callbacks,
            pages=self._build_pages(),
            public_origin=server.public_origin,
            base_path=BasePath(server.prefix),
            allowed_hosts=frozenset(host.lower().encode("ascii") for host in server.allowed_hosts),
            client_address=ClientAddress(server.trusted_proxies, server.forwarded_header, hops=server.trusted_hops),
            cors=Cors(server.cors_origins, headers=server.cors_headers, expose=server.cors_expose),
            telemetry=state.telemetry,
            limits=state.connections.limits,
            headers=state.connections.headers,
        )

    def _build_pages(self) -> Starlette:
        components = self.components
        caller_pages = CallerPages(
            authenticator=self._sessions.authenticator,
            cookie=None if components.cookie is None else components.cookie.name.decode("ascii"),
            listings=components.listings,
            policy=self._policy,
            accounting=self.accounting,
            jobs=components.config.jobs.enabled,
            guests=components.sessions.guests is not None,
        )
        return create_pages(
            prefix=components.config.server.prefix,
            readiness=self.readiness,
            caller_pages=caller_pages,
            session_page=self._sessions.page(self._limiter, self._state.body_budget),
            routes=playground_routes(components.config, caller_pages.authenticate),
        )

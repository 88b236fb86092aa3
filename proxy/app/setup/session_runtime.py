"""Sessions of one process: the shared authenticator, guests, revocations and tasks of keys."""

from __future__ import annotations

import time

from proxy.app.session_page import SessionPage
from proxy.app.setup.components import Components
from proxy.app.setup.sessions import build_key_cache
from proxy.auth.authenticator import Authenticator
from proxy.auth.caller import Caller
from proxy.auth.revocation.revocation_watch import RevocationWatch
from proxy.auth.sessions.guest_sessions import GUEST_COOKIE
from proxy.auth.sessions.session_cookie import SessionCookie
from proxy.auth.token_verifier import TokenVerifier
from proxy.http.request_body import BodyBudget
from proxy.ratelimit.failed_logins import LoginLimit
from proxy.ratelimit.rate_limiter import RateLimiter
from proxy.storage.redis_client import RedisStore
from proxy.telemetry.json_log import JsonLogWriter
from proxy.telemetry.metrics import Telemetry


class SessionRuntime:
    """Sessions under one configuration."""

    def __init__(
        self,
        components: Components,
        journal: JsonLogWriter,
        *,
        store: RedisStore | None,
        revocations: RevocationWatch,
        login_limit: LoginLimit,
    ) -> None:
        """Builds the sessions. *store*, *revocations* and *login_limit* stay over a reload."""
        self._components = components
        self.remote_keys = components.sessions.remote_keys
        components.sessions.reports.connect(lambda line: journal.write({"event": "session_keys", "message": line}))
        for keys in self.remote_keys:
            keys.cache = build_key_cache(components.config, store)
        self.revocations = revocations if components.config.revocation.enabled else None
        self.authenticator = Authenticator(
            TokenVerifier(
                components.issuers,
                clock=time.time,
                is_revoked=_never if self.revocations is None else self.revocations.is_revoked,
            ),
            cookies=self._cookies(),
            headers=[issuer.header for issuer in components.issuers if issuer.header is not None],
            origins=components.origins,
            failed_logins=login_limit,
            outlive=components.config.streams.outlive_session_seconds,
        )

    def page(self, limiter: RateLimiter, body_budget: BodyBudget) -> SessionPage:
        """Returns the page that gives guest sessions and ends sessions."""
        return SessionPage(
            self.authenticator,
            limiter,
            body_budget,
            guests=self._components.sessions.guests,
            revocations=self.revocations,
            origins=self._components.origins,
        )

    def start(self) -> None:
        """Starts the tasks that keep keys and revocations fresh, on the running event loop."""
        for keys in self.remote_keys:
            keys.start()
        if self.revocations is not None:
            self.revocations.start()

    async def aclose(self) -> None:
        """Stops the tasks of this configuration; the watch of revocations goes on."""
        for keys in self.remote_keys:
            await keys.aclose()

    def register_metrics(self, telemetry: Telemetry) -> None:
        """Exposes the state of the remote key sets, where there are any."""
        remote_keys = self.remote_keys
        if not remote_keys:
            return
        telemetry.gauge(
            "session_keys_age_seconds",
            "Seconds since the oldest of the session key sets was fetched.",
            lambda: max(keys.age for keys in remote_keys),
            merge="max",
        )
        telemetry.gauge(
            "session_keys_unusable",
            "Session key sets that are missing or too old.",
            lambda: sum(not keys.usable for keys in remote_keys),
            merge="max",
        )
        telemetry.counter(
            "session_key_fetches", "Fetches of session key sets.", lambda: sum(keys.fetches for keys in remote_keys)
        )
        telemetry.counter(
            "session_key_fetch_failures",
            "Fetches of session key sets that failed.",
            lambda: sum(keys.failures for keys in remote_keys),
        )

    def _cookies(self) -> list[SessionCookie]:
        """Returns the login service's cookie, and that of guests, which counts where the other is not sent."""
        cookies = [] if self._components.cookie is None else [self._components.cookie]
        if self._components.sessions.guests is not None:
            cookies.append(SessionCookie(GUEST_COOKIE.encode("ascii"), self._components.origins))
        return cookies


def _never(caller: Caller) -> bool:
    return False

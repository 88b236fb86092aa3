"""Authenticator of one process, built from the components."""

from __future__ import annotations

import time
from collections.abc import Sequence

from proxy.app.setup.components import Components
from proxy.auth.authenticator import Authenticator
from proxy.auth.keys.remote_keys import RemoteKeys
from proxy.auth.token_verifier import TokenVerifier
from proxy.ratelimit.failed_logins import FailedLogins, LoginLimit
from proxy.telemetry.metrics import Telemetry

FAILED_LOGINS = 30  # bad sessions from one address in FAILED_LOGINS_WINDOW seconds; further ones are refused
FAILED_LOGINS_WINDOW = 60


def build_authenticator(components: Components) -> Authenticator:
    """Returns the authenticator that all routes share, with one count of failed logins."""
    cookie = components.cookie
    return Authenticator(
        TokenVerifier(components.issuers, clock=time.time),
        cookies=() if cookie is None else (cookie,),
        headers=[issuer.header for issuer in components.issuers if issuer.header is not None],
        origins=components.origins,
        failed_logins=LoginLimit(FailedLogins(FAILED_LOGINS, FAILED_LOGINS_WINDOW, time.monotonic), time.monotonic),
        outlive=components.config.streams.outlive_session_seconds,
    )


def session_key_metrics(telemetry: Telemetry, remote_keys: Sequence[RemoteKeys]) -> None:
    """Exposes the state of the remote key sets, where there are any."""
    if not remote_keys:
        return
    telemetry.gauge(
        "session_keys_age_seconds",
        "Seconds since the oldest of the session key sets was fetched.",
        lambda: max(keys.age for keys in remote_keys),
    )
    telemetry.gauge(
        "session_keys_unusable",
        "Session key sets that are missing or too old.",
        lambda: sum(not keys.usable for keys in remote_keys),
    )
    telemetry.counter(
        "session_key_fetches", "Fetches of session key sets.", lambda: sum(keys.fetches for keys in remote_keys)
    )
    telemetry.counter(
        "session_key_fetch_failures",
        "Fetches of session key sets that failed.",
        lambda: sum(keys.failures for keys in remote_keys),
    )

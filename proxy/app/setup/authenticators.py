"""Authenticator of one process, built from the components."""

from __future__ import annotations

import time

from proxy.app.setup.components import Components
from proxy.auth.authenticator import Authenticator
from proxy.auth.token_verifier import TokenVerifier
from proxy.ratelimit.failed_logins import FailedLogins, LoginLimit

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
    )

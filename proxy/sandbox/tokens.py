"""Short-lived tokens for direct calls from a browser."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from proxy.sandbox.endpoints import app_id


@dataclass(frozen=True, slots=True)
class TokenGrant:
    """Rights of one token. *expires*: unix seconds."""

    account: str
    apps: frozenset[str]
    expires: float


class Tokens:
    """Credentials for `fal_jwt_token`. fal's are JWTs; no client parses them, so these are opaque."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._grants: dict[str, TokenGrant] = {}

    def mint(self, account: str, apps: Sequence[str], seconds: float) -> str:
        """Returns a new token for *apps*, valid for *seconds*. Raises FalError 404 for a malformed app."""
        now = self._clock()
        self._grants = {token: grant for token, grant in self._grants.items() if grant.expires > now}
        token = f"sandbox.{secrets.token_urlsafe(32)}"
        self._grants[token] = TokenGrant(account, frozenset(_app_name(app) for app in apps), now + seconds)
        return token

    def account(self, token: str, endpoint: str) -> str | None:
        """Returns the account of *token*, None where it is unknown, expired or not for the endpoint's app."""
        grant = self._grants.get(token)
        if grant is None or self._clock() >= grant.expires:
            return None
        app = app_id(endpoint)
        return grant.account if {app, app.rpartition("/")[2]} & grant.apps else None


def _app_name(app: str) -> str:
    """Returns an alias unchanged, and the app of a path such as `owner/alias/realtime`."""
    return app_id(app) if "/" in app else app

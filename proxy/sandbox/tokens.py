from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from proxy.sandbox.endpoints import app_of


@dataclass(frozen=True, slots=True)
class Minted:
    account: str
    apps: frozenset[str]
    expires: float


class Tokens:
    """Short-lived credentials for `fal_jwt_token`. fal's are JWTs; no client looks inside, so these are opaque."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._minted: dict[str, Minted] = {}

    def mint(self, account: str, apps: Sequence[str], seconds: float) -> str:
        now = self._clock()
        self._minted = {token: minted for token, minted in self._minted.items() if minted.expires > now}
        token = f"sandbox.{secrets.token_urlsafe(32)}"
        self._minted[token] = Minted(account, frozenset(_name(app) for app in apps), now + seconds)
        return token

    def account(self, token: str, endpoint: str) -> str | None:
        """Whose token it is, None where it is unknown, expired or for other apps."""
        minted = self._minted.get(token)
        if minted is None or self._clock() >= minted.expires:
            return None
        app = app_of(endpoint)
        return minted.account if {app, app.rpartition("/")[2]} & minted.apps else None


def _name(app: str) -> str:
    """The older mint names apps by alias alone, the newer one by a path such as `owner/alias/realtime`."""
    return app_of(app) if "/" in app else app

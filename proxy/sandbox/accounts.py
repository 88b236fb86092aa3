from __future__ import annotations

import hashlib
import secrets

from proxy.sandbox.replies import FalError


class Accounts:
    """Who may call: each accepted key is an account of its own, and sees only its own jobs."""

    def __init__(self, keys: frozenset[str] | None) -> None:
        self._keys = keys

    def account(self, authorization: list[str], *, app: str | None = None) -> str:
        """The account of the one `Authorization: Key <id>:<secret>`, as an opaque name.

        Raises FalError with the 401 bodies fal's hosts answer; *app* is the application called, None on the rest host.
        """
        if len(authorization) != 1:
            raise FalError(401, {"detail": _missing(app)})
        scheme, _, key = authorization[0].partition(" ")
        if scheme.lower() != "key" or not key.strip():
            raise FalError(401, {"detail": _missing(app)})
        if not self.knows(authorization[0]):
            raise FalError(401, {"detail": "No user found for Key ID and Secret"})
        return hashlib.sha256(key.encode()).hexdigest()

    def knows(self, authorization: str) -> bool:
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "key" or not key.strip():
            return False
        return self._keys is None or any(secrets.compare_digest(key.encode(), known.encode()) for known in self._keys)


def _missing(app: str | None) -> str:
    if app is None:
        return "Authorization header is required"
    return f'Cannot access application "{app}". Authentication is required to access this application.'

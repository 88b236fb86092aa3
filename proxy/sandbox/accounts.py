"""Accepted keys and the accounts they stand for."""

from __future__ import annotations

import hashlib
import secrets

from proxy.sandbox.responses import FalError


class Accounts:
    """Accounts of the sandbox: one for each accepted key, with its own jobs.

    *keys*: the accepted `id:secret` strings. None accepts every non-empty key.
    """

    def __init__(self, keys: frozenset[str] | None) -> None:
        self._keys = keys

    def authenticate(self, authorization: list[str], *, app: str | None = None) -> str:
        """Returns the opaque account name of one `Authorization: Key <id>:<secret>`.

        *app*: the application of the request, None on the rest host.
        Raises FalError 401 with the body of fal's queue host or of its rest host.
        """
        if len(authorization) != 1:
            raise FalError(401, {"detail": _missing_credential(app)})
        scheme, _, key = authorization[0].partition(" ")
        if scheme.lower() != "key" or not key.strip():
            raise FalError(401, {"detail": _missing_credential(app)})
        if not self.accepts(authorization[0]):
            raise unknown_key()
        return hashlib.sha256(key.encode()).hexdigest()

    def accepts(self, authorization: str) -> bool:
        """Returns True for the value of an `Authorization` header that `authenticate` accepts."""
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "key" or not key.strip():
            return False
        return self._keys is None or any(secrets.compare_digest(key.encode(), known.encode()) for known in self._keys)


def unknown_key() -> FalError:
    """Returns the 401 of fal for a key that it does not know."""
    return FalError(401, {"detail": "No user found for Key ID and Secret"})


def key_id(authorization: str) -> str:
    """Returns the id half of the key in an `Authorization` header, empty for a key without one."""
    scheme, _, key = authorization.partition(" ")
    name, colon, _ = key.strip().partition(":")
    return name if scheme.lower() == "key" and colon else ""


def _missing_credential(app: str | None) -> str:
    if app is None:
        return "Authorization header is required"
    return f'Cannot access application "{app}". Authentication is required to access this application.'

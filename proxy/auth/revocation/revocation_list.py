"""Revoked sessions: by token id, and by user for all tokens issued before a time. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from proxy.auth.caller import Caller


@dataclass(frozen=True, slots=True)
class Revocation:
    """One revocation. It may be forgotten after *until*, when every token that it is about has expired.

    *subject*: a token id (`token_subject`) or a caller's key. *before*: of a user, tokens issued up to this time, or
    without a time, are revoked. Times are in seconds since the epoch.
    """

    kind: Literal["token", "user"]
    subject: str
    until: float
    before: float = 0.0


def token_subject(issuer: str, token_id: str) -> str:
    """Returns the digest of one token's id.

    An id is unique within its issuer only (RFC 7519 section 4.1.7).
    """
    return sha256(f"{len(issuer)}:{issuer}{token_id}".encode()).hexdigest()


class RevocationList:
    """Revocations that hold now, for look-ups with each request."""

    def __init__(self, revocations: Iterable[Revocation] = ()) -> None:
        self._tokens: set[str] = set()
        self._users: dict[str, float] = {}
        for revocation in revocations:
            self.add(revocation)

    def __len__(self) -> int:
        return len(self._tokens) + len(self._users)

    def add(self, revocation: Revocation) -> None:
        """Adds one revocation; of two of one user the later time counts."""
        if revocation.kind == "token":
            self._tokens.add(revocation.subject)
        else:
            self._users[revocation.subject] = max(revocation.before, self._users.get(revocation.subject, 0.0))

    def is_revoked(self, caller: Caller) -> bool:
        """Returns True where the caller's token, or the user, is revoked."""
        before = self._users.get(caller.key) if self._users else None
        if before is not None and (caller.issued is None or caller.issued <= before):
            return True
        return bool(self._tokens) and token_subject(caller.issuer, caller.token_id or "") in self._tokens

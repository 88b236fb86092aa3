"""Authenticated caller: the identity that a verified session token gives to a request."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256


@dataclass(frozen=True, slots=True)
class Caller:
    """Identity of a caller: the pair (issuer, subject), never the subject alone (RFC 7519, OIDC Core 5.7).

    *key* identifies the pair in every store, as 64 hexadecimal digits. *expires* is in seconds since the epoch.
    *claims* are the verified claims; look-ups take dotted paths. *session_end* is *expires* with the issuer's leeway.
    *issued* (`iat`, seconds since the epoch) and *token_id* (`jti`) are what a revocation refers to.
    """

    issuer: str
    subject: str
    key: str
    scopes: frozenset[str]
    expires: float
    claims: Mapping[str, object]
    session_end: float = math.inf
    issued: float | None = None
    token_id: str | None = None


def caller_key(issuer: str, subject: str) -> str:
    """Returns the digest that identifies a caller in handles and store keys, in lower-case hexadecimal."""
    # The length in front: no issuer can end where another's subject begins.
    name = issuer.encode()
    return sha256(len(name).to_bytes(4, "big") + name + subject.encode()).hexdigest()

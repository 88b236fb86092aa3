"""Issuer of session tokens: its keys, and the claims its tokens need (RFC 7519 section 4.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from proxy.auth.caller import Caller, caller_key
from proxy.auth.keys.key_source import KeySource
from proxy.auth.sessions.claims import MAX_TEXT, Claims, Requirement, find
from proxy.auth.sessions.subject import parse_subject
from proxy.errors import Unauthenticated
from proxy.strict_json import Json

MAX_LEEWAY = 120.0  # seconds; more is a longer session, not a clock that is off
STANDARD_SCOPE = "scope"  # RFC 8693 section 4.2: a string of scopes
PINS = frozenset({"azp", "client_id", "appid", "cid"})  # claims that stand for the client where there is no audience

_MAX_DATE = 2**53
_TENANT = re.compile(r"\{([a-z_]{1,32})\}")
_TENANT_VALUE = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(slots=True)
class Times:
    """Times of a token in Unix seconds. *starts* is the later of `nbf` and `iat`, 0 without both."""

    expires: Final[float]
    starts: Final[float]
    issued: Final[float | None]


@dataclass(frozen=True, slots=True)
class Issuer:
    """Issuer of session tokens and the rules for its tokens.

    Raises ValueError where the parts do not fit together.

    *issuer* may hold claims in braces (`https://login.example.com/{tid}/v2.0`), for a provider with an issuer a tenant.
    *audience*: the token must name one of them; none only where *require* pins the client. *leeway* (clocks that
    differ) and *max_lifetime* are in seconds; None in *types* admits a token without `typ`. *header* is a field of a
    front platform that may carry the token, in lower case.
    """

    issuer: str
    audience: tuple[str, ...]
    keys: KeySource
    leeway: float = 30.0
    max_lifetime: float = 86_400.0
    types: tuple[str | None, ...] = ("jwt", "at+jwt", None)
    require: tuple[Requirement, ...] = ()
    forbid: tuple[Requirement, ...] = ()
    subject_claim: str = "sub"
    scope_claim: str = STANDARD_SCOPE
    header: bytes | None = None

    def __post_init__(self) -> None:
        if not self.issuer or "" in self.audience:
            raise ValueError("an issuer needs a name, and an audience is not empty")
        if not self.audience and not any(rule.path in PINS for rule in self.require):
            raise ValueError(f"without an audience, require must pin one of {', '.join(sorted(PINS))}")
        if not 0 <= self.leeway <= MAX_LEEWAY:
            raise ValueError(f"leeway must be 0 to {MAX_LEEWAY:g} seconds")
        if not self.max_lifetime > 0:
            raise ValueError("max_lifetime must be more than 0 seconds")

    @property
    def is_pattern(self) -> bool:
        """True where the issuer of a token is made with claims of that token."""
        return _TENANT.search(self.issuer) is not None

    def matches(self, claims: Mapping[str, Json]) -> bool:
        """Returns True where the token's `iss` is this issuer, byte for byte."""
        if not self.is_pattern:
            return claims.get("iss") == self.issuer
        values = {name: claims.get(name) for name in _TENANT.findall(self.issuer)}
        if not all(isinstance(value, str) and _TENANT_VALUE.fullmatch(value) for value in values.values()):
            return False
        return claims.get("iss") == _TENANT.sub(lambda match: str(values[match[1]]), self.issuer)

    def check_time(self, times: Times, now: float) -> None:
        """Checks the *times* of a token at *now* (unix seconds). Raises Unauthenticated."""
        if times.expires + self.leeway <= now:
            raise Unauthenticated(reason="the token has expired")
        if times.expires - now > self.max_lifetime:
            raise Unauthenticated(reason="exp is further away than max_lifetime")
        if times.starts - self.leeway > now:
            raise Unauthenticated(reason="nbf or iat lies in the future")

    def check_audience(self, claims: Mapping[str, Json]) -> None:
        """Checks `aud`, a string or a list of strings. Raises Unauthenticated."""
        if not self.audience:
            return
        audience = claims.get("aud")
        values = parse_strings(audience) if isinstance(audience, list) else (audience,)
        if values is None or not any(value in self.audience for value in values):
            raise Unauthenticated(reason="aud does not name this service")

    def check_required(self, claims: Mapping[str, Json]) -> None:
        """Checks every claim that the operator requires or forbids. Raises Unauthenticated."""
        for rule in self.require:
            if not rule.is_met(claims):
                raise Unauthenticated(reason=f"the claim {rule.path} is not one of the required values")
        for rule in self.forbid:
            if rule.is_met(claims):
                raise Unauthenticated(reason=f"the claim {rule.path} has a forbidden value")

    def caller(self, claims: Mapping[str, Json], times: Times, digest: bytes) -> Caller:
        """Returns the caller that checked *claims* identify.

        *digest*, the token's, stands in for a missing `jti`.

        Raises Unauthenticated for an unfit subject or scope.
        """
        issuer = str(claims["iss"])
        subject = parse_subject(claims, self.subject_claim)
        token_id = claims.get("jti")
        return Caller(
            issuer=issuer,
            subject=subject,
            key=caller_key(issuer, subject),
            scopes=self.scopes(claims),
            expires=times.expires,
            claims=Claims(claims),
            session_end=times.expires + self.leeway,
            issued=times.issued,
            token_id=token_id if isinstance(token_id, str) and len(token_id) <= MAX_TEXT else digest.hex(),
        )

    def scopes(self, claims: Mapping[str, Json]) -> frozenset[str]:
        """Returns the scopes: space-separated (RFC 8693 section 4.2), a list, or `true` for a boolean claim."""
        value = find(claims, self.scope_claim) if self.scope_claim != STANDARD_SCOPE else claims.get("scope", "")
        match value:
            case str():
                return frozenset(value.split(" ")) - {""}
            case list() if (listed := parse_strings(value)) is not None:
                return frozenset(listed) - {""}
            case bool() if self.scope_claim != STANDARD_SCOPE:
                return frozenset({"true"} if value else ())
            case list() | dict() | int() | float() | None:
                raise Unauthenticated(reason="the scope claim is neither a string nor a list of strings")
            case _:  # not in the token
                return frozenset()


def parse_times(claims: Mapping[str, Json]) -> Times:
    """Returns `exp`, which is required, `nbf` and `iat`. Raises Unauthenticated."""
    issued = parse_date(claims, "iat") if "iat" in claims else None
    not_before = parse_date(claims, "nbf") if "nbf" in claims else 0.0
    return Times(parse_date(claims, "exp"), max(not_before, issued or 0.0), issued)


def parse_date(claims: Mapping[str, Json], name: str) -> float:
    """Returns a NumericDate (RFC 7519 section 2), in seconds since the epoch. Raises Unauthenticated."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_DATE:
        raise Unauthenticated(reason=f"{name} is not a NumericDate")
    return float(value)


def parse_strings(value: list[Json]) -> tuple[str, ...] | None:
    """Returns the items of a list of strings; None where another item is among them."""
    strings = tuple(item for item in value if isinstance(item, str))
    return strings if len(strings) == len(value) else None

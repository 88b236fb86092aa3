"""Explanation of a session token: each check in its order, with its result and the claim it looked at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import NamedTuple

from proxy.auth.authorization import Listing
from proxy.auth.caller import Caller
from proxy.auth.sessions.claims import MISSING, find
from proxy.auth.sessions.issuer import Issuer, parse_times
from proxy.auth.token_verifier import ParsedToken, TokenVerifier, build_credential, check_signature
from proxy.errors import Unauthenticated, Unavailable
from proxy.strict_json import Json

_MAX_SHOWN = 80  # characters of a claim


class Check(NamedTuple):
    """One check. *passed* is None where it was not made, because one before it failed."""

    name: str
    passed: bool | None
    detail: str


async def explain_token(verifier: TokenVerifier, token: bytes, now: float) -> tuple[list[Check], Caller | None]:
    """Returns the checks of *token* at *now* (unix seconds), and its caller where all of them pass.

    Where several tables have the token's issuer, they are those of the table that it comes furthest with.
    """
    try:
        parsed = verifier.parse(build_credential(token))
    except Unauthenticated as refusal:
        return [Check("form", False, str(refusal.reason))], None
    form = Check("form", True, "three segments, strict JSON")
    issuer = Check("issuer", True, _shown(parsed.jws.claims, "iss"))
    attempts = [await _explain_table(table, parsed, now) for table in parsed.issuers]
    best, caller = max(attempts, key=lambda attempt: sum(check.passed is True for check in attempt[0]))
    return [form, issuer, *best], caller


async def _explain_table(issuer: Issuer, token: ParsedToken, now: float) -> tuple[list[Check], Caller | None]:
    jws, claims = token.jws, token.jws.claims
    callers: list[Caller] = []

    async def check_type() -> None:
        if jws.type not in issuer.types:
            raise Unauthenticated(reason="typ is not one that is accepted here")

    async def check_identity() -> None:
        callers.append(issuer.caller(claims, parse_times(claims), token.digest))

    ruled = [rule.path for rule in (*issuer.require, *issuer.forbid)]
    steps: list[tuple[str, Callable[[], Awaitable[None]], str]] = [
        ("type", check_type, f"typ = {jws.type!r}"),
        ("signature", lambda: check_signature(issuer, jws), f"kid = {_cut(jws.kid)}, alg = {_cut(jws.algorithm)}"),
        ("time", _deferred(lambda: issuer.check_time(parse_times(claims), now)), _shown(claims, "exp", "nbf", "iat")),
        ("audience", _deferred(lambda: issuer.check_audience(claims)), _shown(claims, "aud")),
        ("require", _deferred(lambda: issuer.check_required(claims)), _shown(claims, *ruled) or "nothing"),
        ("subject", check_identity, _shown(claims, issuer.subject_claim, issuer.scope_claim)),
    ]
    checks: list[Check] = []
    for name, step, looked_at in steps:
        failed = any(check.passed is False for check in checks)
        checks.append(Check(name, None, looked_at) if failed else await _run(name, step, looked_at))
    return checks, callers[0] if callers else None


async def _run(name: str, step: Callable[[], Awaitable[None]], looked_at: str) -> Check:
    try:
        await step()
    except (Unauthenticated, Unavailable) as refusal:
        return Check(name, False, f"{refusal.reason} ({looked_at})")
    return Check(name, True, looked_at)


def _deferred(check: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        check()

    return run


def explain_rules(listings: Iterable[Listing], endpoint: str, caller: Caller | None) -> list[Check]:
    """Returns the checks of scope and claims for *endpoint*."""
    listing = next((listing for listing in listings if listing.endpoint == endpoint), None)
    if listing is None:
        return [Check("endpoint", False, f"{endpoint} is not listed")]
    scope, allow = f"scope = {listing.scope!r}", "no rule" if listing.allow is None else listing.allow.expression
    if caller is None:
        return [Check("scope", None, scope), Check("allow", None, allow)]
    in_scope = listing.scope is None or listing.scope in caller.scopes
    allowed = listing.allow is None or listing.allow.allows(caller)
    return [Check("scope", in_scope, f"{scope}, of {sorted(caller.scopes)}"), Check("allow", allowed, allow)]


def _shown(claims: Mapping[str, Json], *paths: str) -> str:
    """Returns claims for an operator's terminal: cut, and with control characters escaped."""
    values = [(path, find(claims, path)) for path in paths]
    return ", ".join(f"{path} = {_cut(value) if value is not MISSING else 'missing'}" for path, value in values)


def _cut(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"

"""Session tokens: any bytes, and genuine signatures over any header and claims, against PyJWT."""

from __future__ import annotations

import hmac
import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fuzz.target import Target
from support.hostile_tokens import Material, b64, compact, dumps, rows

from proxy.auth.caller import Caller
from proxy.auth.keys.hmac_secret import hmac_key
from proxy.auth.keys.key_source import StaticKeys
from proxy.auth.keys.verification_key import VerificationKey
from proxy.auth.sessions.claims import Requirement
from proxy.auth.sessions.issuer import Issuer
from proxy.auth.sessions.jws import parse_jws
from proxy.auth.token_verifier import TokenVerifier, build_credential
from proxy.errors import MalformedJson, Unauthenticated
from proxy.strict_json import Json, parse

NOW = 1_800_000_000
LEEWAY = 30
SECRET = urlsafe_b64encode(bytes(range(7, 79, 2)))
ED25519 = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NAME, AUDIENCE = "https://login.example", "fal-proxy"
TENANTS = re.compile(r"https://tenant\.example/[A-Za-z0-9_-]{1,64}/v2")
HMAC_MATERIAL = Material("HS256", SECRET, b"", NAME, AUDIENCE, NOW, "key-1")
GENUINE = HMAC_MATERIAL.claims
PLAIN = GENUINE.keys() | {"jti", "plan", "email"}

_VERIFIER = TokenVerifier(
    [
        Issuer(NAME, (AUDIENCE,), StaticKeys((hmac_key(SECRET, "key-1"),)), leeway=LEEWAY),
        Issuer(
            "https://tenant.example/{tid}/v2",
            (),
            StaticKeys((VerificationKey("EdDSA", None, ED25519.public_key()),)),
            leeway=LEEWAY,
            require=(Requirement("azp", ("app-1", "app-2")),),
            forbid=(Requirement("guest", (True,)),),
            subject_claim="user.id",
            scope_claim="realm.roles",
        ),
    ],
    clock=lambda: NOW,
    cache_size=100,
)


def check(data: bytes) -> None:
    """Checks *data*, whose first byte decides what the rest is."""
    mode, rest = data[:1], data[1:]
    match int.from_bytes(mode) % 4:
        case 0:
            _check_raw(rest)
        case 1:
            _check_signed(rest, lambda signed: hmac.digest(SECRET, signed, "sha256"))
        case 2:
            _check_signed(rest, ED25519.sign)
        case _:
            _check_changed(rest)


def _verified(token: bytes) -> Caller | None:
    credential = build_credential(token)
    try:
        caller = _result(_VERIFIER.verify(_VERIFIER.parse(credential)))
    except Unauthenticated:
        return None
    assert _VERIFIER.cached(credential.cache_key) in (caller, None)
    return caller


def _result(coroutine: Coroutine[None, None, Caller]) -> Caller:
    """Returns the result of *coroutine*, which waits for nothing as the keys are fixed."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        caller: Caller = end.value
        return caller
    raise AssertionError("waited")


def _check_raw(token: bytes) -> None:
    try:
        jws = parse_jws(token)
    except Unauthenticated:
        return
    expected: dict[str, Any] = jwt.api_jws.decode_complete(token, options={"verify_signature": False})
    assert jws.algorithm == expected["header"]["alg"]
    assert jws.kid == expected["header"].get("kid")
    assert jws.claims == json.loads(expected["payload"])
    assert jws.signature == expected["signature"]
    assert token == jws.signing_input + b"." + b64(jws.signature), "a second spelling"
    _verified(token)


def _check_signed(rest: bytes, sign: Callable[[bytes], bytes]) -> None:
    """Checks a token that is signed with the issuer's own key: its header, a NUL, and its claims."""
    header, _, payload = rest.partition(b"\0")
    token = compact(header, payload, sign)
    caller = _verified(token)
    if caller is not None:
        _check_accepted(caller, token)
    elif header == dumps(HMAC_MATERIAL.header) and sign is not ED25519.sign:
        assert not _is_plain(payload), "a plain genuine token is refused"


def _check_accepted(caller: Caller, token: bytes) -> None:
    key: Any = SECRET if caller.issuer == NAME else ED25519.public_key()
    options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": caller.issuer == NAME}
    options |= {"verify_sub": False, "verify_jti": False, "require": ["exp", "iss"]}
    claims: dict[str, Any] = jwt.decode(
        token,
        key,
        algorithms=["HS256" if caller.issuer == NAME else "EdDSA"],
        audience=AUDIENCE if caller.issuer == NAME else None,
        issuer=caller.issuer,
        options=options,
    )
    assert dict(caller.claims) == {name: caller.claims[name] for name in claims}
    assert NOW - LEEWAY < claims["exp"] <= NOW + 86_400, "outside of its time"
    assert max(claims.get("nbf", 0), claims.get("iat", 0)) <= NOW + LEEWAY, "before its time"
    assert caller.expires == claims["exp"]
    if caller.issuer == NAME:
        assert caller.subject == str(claims["sub"])
    else:
        assert TENANTS.fullmatch(caller.issuer), caller.issuer
        assert claims["azp"] in ("app-1", "app-2") or isinstance(claims["azp"], list)
        assert claims.get("guest") is not True, "a forbidden claim"
    assert 0 < len(caller.subject) <= 256
    assert caller.subject.isprintable()


def _is_plain(payload: bytes) -> bool:
    """Returns whether *payload* has the claims of a genuine token, and further ones that decide nothing."""
    try:
        claims: Json = parse(payload, max_depth=16)
    except MalformedJson:
        return False
    if not isinstance(claims, dict) or not claims.keys() <= PLAIN or len(payload) > 4096:
        return False
    return all(type(claims.get(name)) is type(value) and claims[name] == value for name, value in GENUINE.items())


def _check_changed(rest: bytes) -> None:
    """Checks a genuine token with some of *rest* written over it at a place."""
    token = HMAC_MATERIAL.token()
    place, change = int.from_bytes(rest[:2]) % len(token), rest[2:18]
    changed = token[:place] + change + token[place + len(change) :]
    assert (_verified(changed) is None) is (changed != token)


def seeds() -> Iterable[bytes]:
    """Yields hostile and genuine tokens, raw and by their parts."""
    for row in rows(HMAC_MATERIAL):
        if len(row.values) == 1 and len(row.values[0]) < 1500:
            yield b"\0" + row.values[0].removeprefix(b"Bearer ")
    header = dumps(HMAC_MATERIAL.header)
    for extra in _EXTRAS:
        yield b"\1" + header + b"\0" + dumps({**GENUINE, **extra})
    tenant: dict[str, Json] = {
        **GENUINE,
        "iss": "https://tenant.example/acme/v2",
        "tid": "acme",
        "azp": "app-1",
        "user": {"id": "mallory"},
        "realm": {"roles": ["a"]},
    }
    for changed in _TENANT_EXTRAS:
        yield b"\2" + dumps({"alg": "EdDSA"}) + b"\0" + dumps({**tenant, **changed})
    yield from (b"\3" + place.to_bytes(2) + change for place in (0, 5, 40, 150) for change in (b"", b"e", b".", b"AA"))


_EXTRAS: tuple[dict[str, Json], ...] = (
    {},
    {"scope": "a b"},
    {"plan": "pro"},
    {"nbf": NOW, "jti": "x", "plan": "pro"},
    {"exp": NOW - 1},
    {"exp": NOW - LEEWAY},
    {"exp": NOW + 86_401},
    {"exp": 1.8e9},
    {"exp": True},
    {"sub": 7},
    {"sub": ""},
    {"sub": " a"},
    {"sub": "a\u0301"},
    {"aud": [AUDIENCE, "other"]},
    {"aud": ["other"]},
    {"aud": [AUDIENCE, 1]},
    {"nbf": NOW + 31},
    {"iat": NOW + 31},
    {"scope": ["a"]},
    {"scope": 1},
)
_TENANT_EXTRAS: tuple[dict[str, Json], ...] = (
    {},
    {"azp": ["app-2"]},
    {"user.id": 7},
    {"tid": "../x"},
    {"guest": True},
    {"guest": 1},
)

TARGET = Target(
    "session_tokens",
    check,
    seeds,
    words=(
        *(b'"alg":"HS256"', b'"alg":"EdDSA"', b'"alg":"none"', b'"typ":"JWT"', b'"kid":"key-1"', b'"crit":[]'),
        *(b'"iss":"https://login.example"', b'"aud":"fal-proxy"', b'"sub":"mallory"', b'"iat":1800000000'),
        *(b'"exp":1800000600', b'"nbf":', b'"scope":"a b"', b'"tid":"acme"', b'"azp":"app-1"', b'"user":{"id":"a"}'),
        *(b'"user.id":"a"', b'"jti":"', b"true", b"null", b"1e3", b"[", b"]", b"{", b"}", b",", b":", b"\\u0061", b"."),
        *(b"eyJhbGciOiJIUzI1NiJ9", b"e30", b"=", b"\0"),
    ),
)

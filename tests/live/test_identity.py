"""Identity providers over real sockets: presets, remote keys, claims, reasons of refusals."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import count

import httpx2
import jwt
import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from support.gateway_process import Gateway, Rig, ask, message, until
from support.hostile_tokens import Material, dumps, rows
from support.identity_provider import IdentityProvider, signing_key
from support.in_process_gateway import APP, ENDPOINT, ENVIRON, ISSUER, SESSION_SECRET, token
from support.provider_tokens import SHAPES, claims, documented
from support.raw_http import Reply, replies
from support.sandbox import bound, origin, picture_input, served
from support.scripted_upstream import Peer

from proxy.auth.sessions.presets import PRESETS
from proxy.strict_json import Json

CONSTANT = {
    "detail": "Sign in again: this call has no valid session token",
    "message": "Sign in again: this call has no valid session token",
    "error_type": "unauthenticated",
}
OLD_SECRET = "former-" + "9c2e7a41d06b58f3e1a7" * 2
ADDRESSES = (f"127.{number // 250}.{number % 250 + 1}.7" for number in count(1))


@dataclass(frozen=True)
class Case:
    """A token and its answer; *reason* is a part of the line in the journal."""

    token: str
    status: int = 200
    reason: str | None = None


@dataclass
class Providers:
    """A gateway that trusts every preset, a provider by discovery, and an own backend with two secrets."""

    gateway: Gateway
    tenants: Gateway
    provider: IdentityProvider
    cases: dict[str, Case] = field(default_factory=dict)


def preset_token(
    name: str, changes: dict[str, Json] | None = None, *, key: str = "presets", header: dict[str, Json] | None = None
) -> str:
    """Returns a token of the provider but for *changes* of its claims, its *header* and its *key*."""
    shape = SHAPES[name]
    pair = signing_key(shape.algorithm, key)
    merged = {"alg": shape.algorithm, "typ": "JWT", "kid": "presets", **shape.header, **(header or {})}
    material = Material(shape.algorithm, pair.private, pair.public, "", "", 0)
    return material.raw(
        dumps({name: value for name, value in merged.items() if value is not None}),
        dumps(claims(shape, **(changes or {}))),
    ).decode()


def preset_cases() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for name, shape in SHAPES.items():
        cases[name] = Case(preset_token(name))
        for wrong, (changes, reason) in shape.wrong.items():
            cases[f"{name}, {wrong}"] = Case(preset_token(name, changes), 401, reason)
        cases[f"{name}, expired"] = Case(
            preset_token(name, {"exp": int(time.time()) - 60}), 401, "the token has expired"
        )
        cases[f"{name}, forged"] = Case(spoilt(preset_token(name)), 401, "the signature does not verify")
        cases[f"{name}, no subject"] = Case(preset_token(name, {"sub": None}), 401, "sub is not a string")
        cases[f"{name}, early"] = Case(preset_token(name, {"nbf": int(time.time()) + 3600}), 401, "lies in the future")
        cases[f"{name}, for ever"] = Case(preset_token(name, {"exp": 2**40}), 401, "further away than max_lifetime")
        cases[f"{name}, no end"] = Case(preset_token(name, {"exp": None}), 401, "exp is not a NumericDate")
        cases[f"{name}, other kid"] = Case(preset_token(name, header={"kid": "x"}), 401, "no key of the issuer")
        cases[f"{name}, other type"] = Case(preset_token(name, header={"typ": "logout+jwt"}), 401, "typ is not one")
        cases[f"{name}, another's key"] = Case(preset_token(name, key="x"), 401, "the signature does not verify")
        cases[f"{name}, brought key"] = Case(
            preset_token(name, header={"jku": "http://127.0.0.1:9/keys"}), 401, "the token's header has jku"
        )
        cases[f"{name}, HS256"] = Case(
            jwt.encode(claims(shape), "x" * 32, headers={"kid": "presets"}), 401, "no key of the issuer"
        )
    return cases


def spoilt(good: str) -> str:
    """Returns the token with another subject under the same signature."""
    head, _, signature = good.split(".")
    other = jwt.encode({**jwt.decode(good, options={"verify_signature": False}), "sub": "mallory"}, "x" * 32)
    return f"{head}.{other.split('.')[1]}.{signature}"


def provider_cases(provider: IdentityProvider) -> dict[str, Case]:
    stranger = replace(provider, keys=[signing_key("ES256", "stranger")])
    return {
        "discovery": Case(provider.token()),
        "discovery, one of two audiences": Case(provider.token(aud=["x", "second-audience"])),
        "discovery, other audience": Case(provider.token(aud="other"), 401, "aud does not name"),
        "discovery, no audience": Case(provider.token(aud=None), 401, "aud does not name"),
        "discovery, nested claim": Case(provider.token(org={"plan": "pro"})),
        "discovery, integer subject": Case(provider.token(sub=7)),
        "discovery, unknown kid": Case(provider.token(header={"kid": "x"}), 401, "no key of the issuer"),
        "discovery, no kid": Case(provider.token(header={"kid": None}), 200),
        "discovery, another's key": Case(
            stranger.token(header={"kid": provider.keys[0].kid}), 401, "the signature does not verify"
        ),
        "discovery, id token type": Case(provider.token(header={"typ": "logout+jwt"}), 401, "typ is not one"),
        "unknown issuer": Case(provider.token(iss="https://evil.example"), 401, "not a configured issuer"),
        "issuer with a slash": Case(provider.token(iss=f"{provider.issuer}/"), 401, "not a configured issuer"),
        "issuer in capitals": Case(provider.token(iss=provider.issuer.upper()), 401, "not a configured issuer"),
        "no issuer": Case(provider.token(iss=None), 401, "not a configured issuer"),
        "subject of a platform": Case(provider.token(sub=7.5), 401, "sub is not a string"),
        "subject without a letter": Case(provider.token(sub=""), 401, "sub is not a string"),
        "subject with a bell": Case(provider.token(sub="a\x07"), 401, "sub has characters that cannot be seen"),
        "subject in form D": Case(provider.token(sub="e\u0301"), 401, "sub is not in normal form C"),
        "scope as an object": Case(provider.token(scope={"a": 1}), 401, "the scope claim is neither"),
        "end as a text": Case(provider.token(exp="2099"), 401, "exp is not a NumericDate"),
        "start as a text": Case(provider.token(nbf="2020"), 401, "nbf is not a NumericDate"),
        "four segments": Case(f"{provider.token()}.x", 401, "has not three segments"),
        "not base64url": Case(f"{provider.token()}=", 401, "is not canonical base64url"),
        "not JSON": Case("e30.e30x.AAAA", 401, "the token's header has no alg"),
        "opaque": Case("gho_16C7e42F292c6912E7710c838347Ae178B4a", 401, "opaque, not a JWT"),
        "encrypted": Case("eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..a.b.c", 401, "encrypted (JWE)"),
        "session id": Case("s:4fVZxX0Q.5pKqfGxP", 401, "a fal key where a session token belongs"),
        "own backend": Case(token()),
        "own backend, former secret": Case(backend_token(OLD_SECRET)),
        "own backend, former secret with a kid": Case(backend_token(OLD_SECRET, kid="any")),
        "own backend, unknown secret": Case(backend_token("z" * 40), 401, "the signature does not verify"),
        "own backend, public algorithm": Case(
            IdentityProvider(ISSUER, [signing_key("ES256", "a")]).token(), 401, "no key of the issuer"
        ),
    }


def backend_token(secret: str, kid: str | None = None) -> str:
    now = int(time.time())
    payload = {"iss": ISSUER, "aud": "fal-proxy", "sub": "alice", "iat": now, "exp": now + 600}
    return jwt.encode(payload, secret, headers=None if kid is None else {"kid": kid})


ALGORITHMS = ("RS256", "ES256", "ES384")


@pytest.fixture(scope="module")
def providers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Providers]:
    """One gateway for the whole table, and one for a tenant pattern, which an exact issuer would hide."""
    with Rig(tmp_path_factory.mktemp("identity")) as rig:
        keys, discovered = bound(2)
        provider = IdentityProvider(origin(discovered), [signing_key("ES256", "one")])
        sets = {name: IdentityProvider(origin(keys), [signing_key(name, "presets")]) for name in ALGORITHMS}
        routes = [Route(f"/{name}", one.answer) for name, one in sets.items()]
        rig.enter(served({keys: Starlette(routes=routes), discovered: provider.app}))
        tables = {
            name: {**documented(shape), "jwks_url": f"{origin(keys)}/{shape.algorithm}"}
            for name, shape in SHAPES.items()
        }
        tenants = rig.gateway(rig.upstream(Peer.gone).url, sessions=[tables.pop("entra-tenants")])
        gateway = rig.gateway(
            rig.upstream(Peer.gone).url,
            environ={**ENVIRON, "SESSION_SECRET": f"{SESSION_SECRET},{OLD_SECRET}"},
            sessions=[
                {"issuer": ISSUER, "audience": "fal-proxy", "algorithm": "HS256", "secret_env": "SESSION_SECRET"},
                {"issuer": provider.issuer, "audience": ["fal-proxy", "second-audience"], "discovery": True},
                *tables.values(),
            ],
        )
        yield Providers(gateway, tenants, provider, {**provider_cases(provider), **preset_cases()})


CASE_NAMES = [*provider_cases(IdentityProvider("https://x", [signing_key("ES256", "one")])), *preset_cases()]


def ask_for(gateway: Gateway, route: str, *values: str | bytes) -> Reply:
    """Asks with these Authorization fields from an address of its own, so that no case locks out another."""
    fields = [b"Authorization: " + (value if isinstance(value, bytes) else value.encode()) for value in values]
    raw = message("GET", f"/api/fal/{route}".encode(), *fields)
    (reply,) = replies(ask(gateway.address, raw, source=next(ADDRESSES)))
    return reply


def ask_usage(gateway: Gateway, *values: str | bytes) -> Reply:
    return ask_for(gateway, "usage", *values)


@pytest.mark.parametrize("name", CASE_NAMES)
def test_cases(providers: Providers, name: str) -> None:
    """A good token is a session; a wrong one gets the constant 401, with its own reason in the journal."""
    case = providers.cases[name]
    gateway = providers.tenants if name.startswith("entra-tenants") else providers.gateway
    reply = ask_usage(gateway, f"Bearer {case.token}")
    line = gateway.request_line(request_id(reply))

    assert reply.status == case.status, line
    if case.status == 401:
        assert json.loads(reply.body) == CONSTANT
        assert case.reason is not None
        assert case.reason in str(line["reason"])
        assert line["error_type"] == "unauthenticated"
    assert case.token not in json.dumps(line)


def test_there_are_enough_cases() -> None:
    """The table alone has the 150 cases promised, all presets among them; the hostile rows come on top."""
    assert len(CASE_NAMES) >= 150
    assert {str(documented(SHAPES[name.partition(",")[0]])["preset"]) for name in preset_cases()} == set(PRESETS)


# Of each group of hostile rows, parts of the reasons that its rows may have.
REASONS = {
    "alg": ("no key of the issuer", "has no alg", "alg of the token's header", "does not verify"),
    "confusion": ("no key of the issuer", "does not verify"),
    "signature": ("does not verify", "base64url"),
    "kid": ("no key of the issuer", "kid of the token's header"),
    "inject": ("the token's header has",),
    "extension": ("the token's header has", "segments", "JSON", "no alg", "base64url", "a fal key"),
    "typ": ("typ is not one", "typ of the token's header"),
    "date": ("expired", "max_lifetime", "future", "NumericDate", "strict JSON", "exp", "iat", "nbf"),
    "json": ("strict JSON", "not a JSON object", "has no alg", "not a configured issuer"),
    "duplicate": ("strict JSON",),
    "base64": ("base64url", "segments", "strict JSON", "does not verify"),
    "segments": ("segments", "base64url", "strict JSON"),
    "scheme": ("Authorization", "neither Bearer nor Key", "segments", "base64url", "a fal key"),
}


def test_hostile_tokens_of_a_remote_issuer(providers: Providers) -> None:
    """The hostile rows made with the provider's own key get the constant 401 and a reason; few fetches."""
    key = providers.provider.keys[0]
    material = Material(
        "ES256", key.private, key.public, providers.provider.issuer, "fal-proxy", int(time.time()), key.kid
    )
    fetches = providers.provider.fetches
    answers: dict[str, Reply] = {}
    for row in rows(material):
        if row.travels and len(row.values) == 1 and not row.id.startswith("size-") and row.status == 401:
            answers[row.id] = ask_usage(providers.gateway, row.values[0])
    lines = requests_by_id(providers.gateway, [request_id(reply) for reply in answers.values()])
    wrong = {
        name: (reply.status, reply.body, reason)
        for name, reply in answers.items()
        if (reason := lines[request_id(reply)].get("reason")) is None
        or (reply.status, json.loads(reply.body)) != (401, CONSTANT)
        or not any(part in str(reason) for part in REASONS.get(name.partition("-")[0], ("",)))
    }
    assert len(answers) > 300
    assert wrong == {}
    assert providers.provider.fetches - fetches <= 3


def request_id(reply: Reply) -> str:
    return reply.headers[b"x-fal-request-id"].decode()


def requests_by_id(gateway: Gateway, ids: list[str]) -> dict[str, dict[str, object]]:
    """Returns the journal's lines of these requests, waited for."""
    until(lambda: set(ids) <= {str(line["request_id"]) for line in gateway.requests()})
    return {str(line["request_id"]): line for line in gateway.requests()}


@pytest.mark.parametrize("route", ["usage", "openapi.json", "queue/fal-ai/x/requests/y/status", "proxy", "nowhere"])
def test_the_reason_is_in_the_journal_of_every_route(providers: Providers, route: str) -> None:
    """An operator reads why on each route that takes a session."""
    reply = ask_for(providers.gateway, route, "Bearer a.b.c")
    line = providers.gateway.request_line(request_id(reply))

    assert json.loads(reply.body) == CONSTANT
    assert "not canonical base64url" in str(line["reason"])


def test_two_issuers_never_share(rig: Rig) -> None:
    """The same subject of two issuers has another handle, budget, limit and usage."""
    with ExitStack() as stack:
        listeners = bound(2)
        a, b = (IdentityProvider(origin(listener), [signing_key("ES256", "one")]) for listener in listeners)
        rig.enter(served(dict(zip(listeners, (a.app, b.app), strict=True))))
        tables = [{"issuer": p.issuer, "audience": "fal-proxy", "discovery": True} for p in (a, b)]
        sandbox = rig.sandbox()
        gateway = rig.gateway(
            sandbox.queue,
            sessions=tables,
            limits=[{"name": "one", "per": "user", "actions": ["submit"], "rate": "1/hour"}],
            budgets=[{"name": "day", "per": "user", "window": "day", "limit": 10}],
            endpoints=[{"id": ENDPOINT, "price": "1"}],
            ledger={"path": "ledger.db"},
        )
        clients = [
            stack.enter_context(
                httpx2.Client(
                    base_url=f"{gateway.url}/", headers={"authorization": f"Bearer {p.token()}"}, trust_env=False
                )
            )
            for p in (a, b)
        ]
        first = clients[0].post(f"queue/{ENDPOINT}", json=picture_input())
        status = f"queue/{APP}/requests/{first.json()['request_id']}/status"
        foreign, own = clients[1].get(status), clients[0].get(status)
        limited = clients[0].post(f"queue/{ENDPOINT}", json=picture_input())
        other = clients[1].get("usage").json()
        second = clients[1].post(f"queue/{ENDPOINT}", json=picture_input())

    assert (first.status_code, foreign.status_code, own.status_code // 100) == (200, 404, 2)
    assert (limited.status_code, second.status_code) == (429, 200)
    assert (other["budgets"][0]["used"], other["budgets"][0]["reserved"]) == (0, 0)

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
from support.gateway_process import Gateway, Rig
from support.hostile_tokens import Material, fresh, rows
from support.identity_provider import IdentityProvider, signing_key
from support.in_process_gateway import APP, ENDPOINT, ENVIRON, ISSUER, SESSION_SECRET, token
from support.provider_tokens import SHAPES, claims, documented
from support.sandbox import bound, origin, picture_input, served
from support.scripted_upstream import Peer

from proxy.strict_json import Json

CONSTANT = {"detail": "Unauthorized", "message": "Unauthorized", "error_type": "unauthenticated"}
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


def preset_token(name: str, **changes: Json) -> str:
    shape = SHAPES[name]
    key = signing_key(shape.algorithm, "presets")
    private = jwt.get_algorithm_by_name(shape.algorithm).prepare_key(key.private)
    return jwt.encode(
        claims(shape, **changes), private, algorithm=shape.algorithm, headers={"kid": key.kid, **shape.header}
    )


def preset_cases() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for name, shape in SHAPES.items():
        cases[name] = Case(preset_token(name))
        for wrong, changes in shape.wrong.items():
            cases[f"{name}, {wrong}"] = Case(preset_token(name, **changes), 401, "")
        cases[f"{name}, expired"] = Case(preset_token(name, exp=int(time.time()) - 60), 401, "the token has expired")
        cases[f"{name}, forged"] = Case(spoilt(preset_token(name)), 401, "the signature does not verify")
        cases[f"{name}, no subject"] = Case(preset_token(name, sub=None), 401, "sub is not a string")
        cases[f"{name}, early"] = Case(preset_token(name, nbf=int(time.time()) + 3600), 401, "lies in the future")
        cases[f"{name}, for ever"] = Case(preset_token(name, exp=2**40), 401, "further away than max_lifetime")
    return cases


def spoilt(good: str) -> str:
    """The token with another subject under the same signature."""
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


def ask_usage(gateway: Gateway, *fields: tuple[str, str | bytes]) -> httpx2.Response:
    """Asks for the caller's usage from an address of its own, so that no case locks out another."""
    transport = httpx2.HTTPTransport(local_address=next(ADDRESSES))
    with httpx2.Client(transport=transport, trust_env=False) as client:
        return client.get(f"{gateway.url}/usage", headers=[(name.encode(), _octets(value)) for name, value in fields])


def _octets(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


@pytest.mark.parametrize("name", CASE_NAMES)
def test_cases(providers: Providers, name: str) -> None:
    """A good token is a session; a wrong one gets the constant 401, with its own reason in the journal."""
    case = providers.cases[name]
    gateway = providers.tenants if name.startswith("entra-tenants") else providers.gateway
    response = ask_usage(gateway, ("authorization", f"Bearer {case.token}"))
    line = gateway.request_line(response.headers["x-fal-request-id"])

    assert response.status_code == case.status, line
    if case.status == 401:
        assert response.json() == CONSTANT
        assert case.reason is not None
        assert case.reason in str(line["reason"])
        assert line["error_type"] == "unauthenticated"
    assert case.token not in json.dumps(line)


HOSTILE = rows(fresh("HS256", issuer=ISSUER, audience="fal-proxy", now=int(time.time())))


def test_there_are_enough_cases() -> None:
    """The table and the hostile rows, which run below, are more than 150 cases."""
    assert len(CASE_NAMES) > 90
    assert len(CASE_NAMES) + len(HOSTILE) > 150


def test_hostile_tokens_of_a_remote_issuer(providers: Providers) -> None:
    """The hostile rows made with the provider's own key open nothing, and cause few fetches."""
    key = providers.provider.keys[0]
    material = Material(
        "ES256", key.private, key.public, providers.provider.issuer, "fal-proxy", int(time.time()), key.kid
    )
    fetches = providers.provider.fetches
    wrong: list[object] = []
    for row in rows(material):
        if row.travels and len(row.values) == 1 and not row.id.startswith("size-") and row.status == 401:
            fields = ("authorization", row.values[0])
            if (status := ask_usage(providers.gateway, fields).status_code) != 401:
                wrong.append((row.id, status))
    assert wrong == []
    assert providers.provider.fetches - fetches <= 3


@pytest.mark.parametrize("route", ["usage", "openapi.json", "queue/fal-ai/x/requests/y/status", "proxy", "nowhere"])
def test_the_reason_is_in_the_journal_of_every_route(providers: Providers, route: str) -> None:
    """An operator reads why on each route that takes a session."""
    transport = httpx2.HTTPTransport(local_address=next(ADDRESSES))
    with httpx2.Client(transport=transport, trust_env=False) as client:
        response = client.get(f"{providers.gateway.url}/{route}", headers={"authorization": "Bearer a.b.c"})
    line = providers.gateway.request_line(response.headers["x-fal-request-id"])

    assert response.json() == CONSTANT
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

"""The page `…/session` in the whole application: guests, and the early end of sessions."""

from __future__ import annotations

import re
from pathlib import Path

import httpx2
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from support.identity_provider import FAULTS, IdentityProvider, signing_key
from support.in_process_gateway import ENDPOINT, INPUT, ORIGIN, LocalGateway, open_gateway, small_components, token
from support.sandbox import bound, origin, served

from proxy.errors import ConfigError

SESSION, USAGE, SUBMIT = "/api/fal/session", "/api/fal/usage", f"/api/fal/queue/{ENDPOINT}"
BUDGET = {"name": "all", "per": "global", "window": "day", "limit": 100}
GUESTS = {"endpoints": [{"id": ENDPOINT, "price": "1"}], "budgets": [BUDGET], "guests": {"enabled": True}}
COOKIE = r"(__Host-fal-guest=[^;]+); Path=/; Secure; HttpOnly; SameSite=Lax"
SAME = {"sec-fetch-site": "same-origin", "content-type": "application/json"}


def anonymous(g: LocalGateway, **headers: str) -> httpx2.AsyncClient:
    client = g.client(None)
    client.headers.update(headers)
    return client


async def test_a_visitor_becomes_a_guest(tmp_path: Path) -> None:
    """The token works in Authorization and as the cookie, for another caller each time."""
    with open_gateway(tmp_path, **GUESTS) as g:
        async with anonymous(g) as visitor:
            given = await visitor.post(SESSION, headers=SAME)
            guest = given.json()["token"]
            cookie = re.match(
                r"(__Host-fal-guest=[^;]+); Path=/; Secure; HttpOnly; SameSite=Lax", given.headers["set-cookie"]
            )
            by_header = await visitor.get(USAGE, headers={"authorization": f"Bearer {guest}"})
            assert cookie is not None
            by_cookie = await visitor.post(SUBMIT, json=INPUT, headers={**SAME, "cookie": cookie[1]})
            crossed = await visitor.post(
                SUBMIT, json=INPUT, headers={"sec-fetch-site": "cross-site", "cookie": cookie[1]}
            )
        lines = g.lines()

    assert (given.status_code, given.json()["expires_in"]) == (200, 3600)
    assert (by_header.status_code, by_cookie.status_code, crossed.status_code) == (200, 200, 403)
    assert given.headers["cache-control"] == "no-store, private"
    assert lines[0]["action"] == "session"
    assert guest not in str(lines)


async def test_the_login_cookie_comes_before_the_guests(tmp_path: Path) -> None:
    """A visitor who has signed in is no guest any more, though the guest's cookie is still sent."""
    with open_gateway(tmp_path, cookie={"name": "__Host-session"}, **GUESTS) as g:
        async with anonymous(g) as visitor:
            guest = (await visitor.post(SESSION, headers=SAME)).json()["token"]
            cookies = f"__Host-fal-guest={guest}; __Host-session={token('alice')}"
            for fields in (
                {**SAME, "cookie": cookies},
                {"authorization": f"Bearer {token('alice')}"},
                {"authorization": f"Bearer {guest}"},
            ):
                await visitor.post(SUBMIT, json=INPUT, headers=fields)
        callers = [line["caller"] for line in g.lines() if line["action"] == "submit"]

    both, alice, guest_alone = callers
    assert both == alice != guest_alone


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/json"},
        {"sec-fetch-site": "same-site", "content-type": "application/json"},
        {"sec-fetch-site": "cross-site", "content-type": "application/json"},
        {"origin": "https://evil.example", "content-type": "application/json"},
    ],
)
async def test_only_our_pages_make_guests(tmp_path: Path, headers: dict[str, str]) -> None:
    """A page of another origin makes its visitors no guests."""
    with open_gateway(tmp_path, **GUESTS) as g:
        async with anonymous(g) as visitor:
            refused = await visitor.post(SESSION, headers=headers)

    assert refused.status_code == 403
    assert "set-cookie" not in refused.headers


async def test_a_page_needs_no_media_type(tmp_path: Path) -> None:
    """A page may ask for a guest session, and end it, with a plain fetch."""
    with open_gateway(tmp_path, **GUESTS) as g:
        async with anonymous(g, **{"sec-fetch-site": "same-origin"}) as visitor:
            given = await visitor.post(SESSION)
            cookie = f"__Host-fal-guest={given.json()['token']}"
            ended = await visitor.delete(SESSION, headers={"cookie": cookie})
            after = await visitor.get(USAGE, headers={"cookie": cookie})

    assert (given.status_code, ended.status_code, after.status_code) == (200, 204, 401)
    assert "Max-Age=0" in ended.headers["set-cookie"]


def test_guests_need_a_limit_by_address() -> None:
    """Own limits without one for guests are refused."""
    limits = [{"name": "submits", "per": "user", "actions": ["submit"], "rate": "1/minute"}]
    with pytest.raises(ConfigError, match=r"actions = ..session.. is needed"):
        small_components(**GUESTS, limits=limits)


async def test_guests_are_limited_by_address(tmp_path: Path) -> None:
    """Ten an hour from one address by default."""
    with open_gateway(tmp_path, **GUESTS) as g:
        async with anonymous(g) as visitor:
            statuses = [(await visitor.post(SESSION, headers=SAME)).status_code for _ in range(12)]

    assert statuses == [200] * 10 + [429] * 2


async def test_guest_sessions_are_described(tmp_path: Path) -> None:
    """The OpenAPI document has the route where guests are on, and is valid with it."""
    (tmp_path / "without").mkdir()
    with open_gateway(tmp_path, **GUESTS) as g, open_gateway(tmp_path / "without") as without:
        async with g.client() as alice, without.client() as bob:
            described = (await alice.get("/api/fal/openapi.json")).json()
            plain = (await bob.get("/api/fal/openapi.json")).json()

    OpenAPIV31SpecValidator(described).validate()
    assert set(described["paths"]["/session"]) == {"post", "delete"}
    assert "/session" not in plain["paths"]


async def test_off_by_default(tmp_path: Path) -> None:
    """Without the table there are no guests, and no cookie of theirs counts."""
    with open_gateway(tmp_path) as g:
        async with anonymous(g) as visitor:
            assert (await visitor.post(SESSION, headers=SAME)).status_code == 404
            assert (await visitor.get(USAGE, headers={"cookie": "__Host-fal-guest=a.b.c"})).status_code == 401


@pytest.mark.parametrize(
    "budgets",
    [
        [],
        [{**BUDGET, "mode": "observe"}],
        [{**BUDGET, "per": "user"}],
        [{**BUDGET, "endpoints": ["fal-ai/other"]}],
    ],
    ids=["none", "observed", "per-user", "of-another-endpoint"],
)
def test_guests_need_a_global_budget(budgets: list[dict[str, object]]) -> None:
    """Guests do not start without a limit on what all of them together can spend."""
    with pytest.raises(ConfigError) as refused:
        small_components(**{**GUESTS, "budgets": budgets})

    assert any(problem.key == "guests.enabled" for problem in refused.value.problems)


def test_the_issuer_of_guests_is_reserved() -> None:
    """No login service can issue tokens of guests."""
    table = {
        "issuer": "urn:fal-auth-proxy:guest",
        "audience": "fal-auth-proxy",
        "algorithm": "HS256",
        "secret_env": "SESSION_SECRET",
    }
    with pytest.raises(ConfigError, match="is reserved for guest sessions"):
        small_components(sessions=[table])


async def test_a_session_ends_itself(tmp_path: Path) -> None:
    """DELETE revokes the caller's own token, and no other one of the same user."""
    with open_gateway(tmp_path) as g:
        async with g.client("alice") as alice, g.client("bob") as bob:
            before = await alice.get(USAGE)
            ended = await alice.delete(SESSION)
            after, other = await alice.get(USAGE), await bob.get(USAGE)
            again = await alice.delete(SESSION)
        reasons = [line["reason"] for line in g.lines()]

    assert [r.status_code for r in (before, ended, after, other, again)] == [200, 204, 401, 200, 401]
    assert "the session is revoked" in reasons
    assert after.json() == {
        "detail": "Sign in again: this call has no valid session token",
        "message": "Sign in again: this call has no valid session token",
        "error_type": "unauthenticated",
    }


async def test_an_ended_session_needs_a_page_of_ours(tmp_path: Path) -> None:
    """Another site cannot end the session of a cookie."""
    with open_gateway(tmp_path, cookie={"name": "__Host-session"}) as g:
        async with anonymous(g, cookie=f"__Host-session={token('alice')}") as alice:
            crossed = await alice.delete(SESSION, headers={**SAME, "sec-fetch-site": "cross-site"})
            ended = await alice.delete(SESSION, headers={**SAME, "origin": ORIGIN})

    assert (crossed.status_code, ended.status_code) == (403, 204)


async def test_without_revocation(tmp_path: Path) -> None:
    """Without revocation a session cannot be ended."""
    with open_gateway(tmp_path, revocation={"enabled": False}) as g:
        async with g.client("alice") as alice, g.client(None) as nobody:
            assert (await alice.delete(SESSION)).status_code == 404
            assert (await nobody.delete(SESSION)).status_code == 401


async def test_a_reload_forgets_no_revocation(tmp_path: Path) -> None:
    """A session that was ended stays so under a new configuration."""
    with open_gateway(tmp_path) as g:
        async with g.client("alice") as alice, g.client("bob") as bob:
            await alice.delete(SESSION)
            g.application.reload(small_components())
            after, other = await alice.get(USAGE), await bob.get(USAGE)
        await g.application.stop()

    assert (after.status_code, other.status_code) == (401, 200)


async def test_a_reload_while_the_provider_is_down(tmp_path: Path) -> None:
    """The last good keys hold under a new configuration, also without a place beside the ledger."""
    (listener,) = bound()
    provider = IdentityProvider(origin(listener), [signing_key("ES256", "one")])
    sessions = [{"issuer": provider.issuer, "audience": "fal-proxy", "jwks_url": f"{provider.issuer}/keys"}]
    async with served({listener: provider.app}):
        with open_gateway(tmp_path, sessions=sessions) as g:
            async with anonymous(g, authorization=f"Bearer {provider.token()}") as alice:
                before = await alice.get(USAGE)
                provider.fault = FAULTS["down"]
                g.application.reload(small_components(sessions=sessions))
                after = await alice.get(USAGE)
            await g.application.stop()

    assert (before.status_code, after.status_code) == (200, 200)

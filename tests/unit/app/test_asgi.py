from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.in_process_gateway import APP, ENDPOINT, INPUT, QUEUED, open_gateway, reply

from proxy.http.response import PROTECTIVE

SUBMIT = f"/api/fal/queue/{ENDPOINT}"
APP_ORIGIN = "https://app.example.com"
SERVER = {"public_origin": "https://gate.example.com", "cors_origins": [APP_ORIGIN]}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", SUBMIT, 422),
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/api/fal/openapi.json", 200),
        ("GET", "/nowhere", 404),
        ("POST", "/healthz", 405),
        ("GET", "/api/fal/queue/x", 400),
        ("GET", "/api/falx/queue/a/b", 404),
        ("GET", "/metrics", 404),
        ("GET", "/docs", 404),
        ("PATCH", SUBMIT, 405),
        ("TRACE", SUBMIT, 405),
        ("OPTIONS", SUBMIT, 405),
    ],
)
async def test_every_answer_is_protected(tmp_path: Path, method: str, path: str, status: int) -> None:
    """Every response has no caching, no sniffing, an id, no redirect, and one line in the log."""
    with open_gateway(tmp_path) as g:
        async with g.client() as alice:
            answer = await alice.request(method, path)
        lines = g.lines()

    assert answer.status_code == status
    assert {name.decode() for name, _ in PROTECTIVE} <= set(answer.headers)
    assert len(answer.headers["x-fal-request-id"]) == 32
    assert "location" not in answer.headers
    assert [line["status"] for line in lines] == [status]
    assert lines[0]["request_id"] == answer.headers["x-fal-request-id"]


@pytest.mark.parametrize(
    "headers",
    [{"upgrade": "websocket"}, {"host": "a b"}, {"host": ""}, {"transfer-encoding": "gzip"}],
    ids=["upgrade", "bad-host", "no-host", "coding"],
)
async def test_the_guards_come_first(tmp_path: Path, headers: dict[str, str]) -> None:
    """A request that no honest client sends is refused on every route, before its session is checked."""
    with open_gateway(tmp_path) as g:
        async with g.client(None) as nobody:
            answers = [await nobody.get(path, headers=headers) for path in ("/healthz", SUBMIT)]

    assert [answer.status_code for answer in answers] == [400, 400]
    assert {answer.headers["connection"] for answer in answers} == {"close"}


async def test_a_page_of_a_listed_origin_may_call(tmp_path: Path) -> None:
    """Preflight without a session, then the call; both name the origin, refusals included."""
    ask = {"origin": APP_ORIGIN, "access-control-request-method": "POST"}
    with open_gateway(tmp_path, server=SERVER) as g:
        async with g.client(None) as nobody, g.client() as alice:
            preflight = await nobody.options("/api/fal/proxy", headers=ask)
            refused = await nobody.post(SUBMIT, json=INPUT, headers={"origin": APP_ORIGIN})
            accepted = await alice.post(SUBMIT, json=INPUT, headers={"origin": APP_ORIGIN})
            site = await nobody.get("/healthz", headers={"origin": APP_ORIGIN})

    assert [a.status_code for a in (preflight, refused, accepted, site)] == [200, 401, 200, 200]
    assert {a.headers["access-control-allow-origin"] for a in (preflight, refused, accepted, site)} == {APP_ORIGIN}
    assert "x-fal-request-id" in accepted.headers["access-control-expose-headers"]


async def test_another_origin_gets_no_leave(tmp_path: Path) -> None:
    """No CORS field for an origin that is not listed, and no preflight."""
    ask = {"origin": "https://evil.test", "access-control-request-method": "POST"}
    with open_gateway(tmp_path, server=SERVER) as g:
        async with g.client() as alice:
            preflight = await alice.options("/api/fal/proxy", headers=ask)
            answer = await alice.post(SUBMIT, json=INPUT, headers={"origin": "https://evil.test"})

    assert preflight.status_code == 403
    assert not [name for a in (preflight, answer) for name in a.headers if name.startswith("access-control")]


async def test_a_defect_is_a_500_that_tells_nothing(tmp_path: Path) -> None:
    """The caller gets a constant, the journal the error and its place; the next request works."""
    with open_gateway(tmp_path, RuntimeError("inner secret"), reply(QUEUED)) as g:
        async with g.client() as alice:
            broken = await alice.post(SUBMIT, json=INPUT)
            fine = await alice.post(SUBMIT, json=INPUT)
        lines = g.lines()

    assert (broken.status_code, fine.status_code) == (500, 200)
    assert "inner secret" not in broken.text
    assert "RuntimeError: inner secret" in str(lines[0]["reason"])


async def test_an_allowed_host_can_be_asked_for(tmp_path: Path) -> None:
    """With a list of hosts every other Host is refused, except for the probes."""
    server = {"public_origin": "https://gate.example.com", "allowed_hosts": ["gate.example.com"]}
    with open_gateway(tmp_path, server=server) as g:
        async with g.client() as alice:
            good = await alice.get("/api/fal/usage")
            bad = await alice.get("/api/fal/usage", headers={"host": "evil.test"})
            probes = [await alice.get(path, headers={"host": "10.0.0.7"}) for path in ("/healthz", "/readyz")]

    assert (good.status_code, bad.status_code) == (200, 400)
    assert [probe.status_code for probe in probes] == [200, 200]


async def test_readiness_turns_red_while_draining(tmp_path: Path) -> None:
    """Liveness stays; readiness says why not."""
    with open_gateway(tmp_path) as g:
        g.application.drain()
        async with g.client(None) as nobody:
            ready, alive = await nobody.get("/readyz"), await nobody.get("/healthz")

    assert (ready.status_code, alive.status_code) == (503, 200)
    assert ready.json() == {"ready": False, "checks": {"serving": "draining", "store": "ok", "upstream": "ok"}}


async def test_the_description_needs_a_session(tmp_path: Path) -> None:
    """The list of endpoints is for callers only, and has the effective schemas."""
    endpoint = {"id": ENDPOINT, "cap": {"num_images": 2}, "forbid": ["sync_mode"]}
    with open_gateway(tmp_path, endpoints=[endpoint]) as g:
        async with g.client(None) as nobody, g.client() as alice:
            refused = await nobody.get("/api/fal/openapi.json")
            content = (await alice.get("/api/fal/openapi.json")).json()
    schema = content["paths"][f"/queue/{ENDPOINT}"]["post"]["requestBody"]["content"]["application/json"]["schema"]

    assert (refused.status_code, refused.json()["error_type"]) == (401, "unauthenticated")
    assert schema["properties"]["num_images"]["maximum"] == 2
    assert "sync_mode" not in json.dumps(schema["properties"])
    assert f"/queue/{APP}/requests/{{request_id}}/cancel" in content["paths"]


async def test_metrics_are_on_the_admin_application_only(tmp_path: Path) -> None:
    """Requests are counted by action and status, and the public port has no metrics."""
    with open_gateway(tmp_path) as g:
        async with g.client() as alice:
            await alice.post(SUBMIT, json=INPUT)
        g.application.connections.on_rejected("head_too_large", "203.0.113.9", 1)
        content = await g.metrics()

    assert (
        'fal_proxy_requests_total{action="submit",endpoint="fal-ai/hyper-sdxl/image-to-image",status="200"} 1.0'
        in content
    )
    assert 'fal_proxy_refusals_total{error_type="head_too_large"} 1.0' in content


@pytest.mark.parametrize(
    ("sections", "schemes"),
    [({}, ["session", "key"]), ({"cookie": {"name": "__Host-session"}}, ["session", "key", "cookie"])],
    ids=["tokens", "cookies-too"],
)
async def test_the_description_says_how_to_bring_a_session(
    tmp_path: Path, sections: dict[str, object], schemes: list[str]
) -> None:
    """By token in either form, and by the cookie where one is configured."""
    with open_gateway(tmp_path, **sections) as g:
        async with g.client() as alice:
            content = (await alice.get("/api/fal/openapi.json")).json()

    assert content["security"] == [{scheme: []} for scheme in schemes]
    assert list(content["components"]["securitySchemes"]) == schemes


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [("POST", {"host": "a b"}, 400), ("POST", {"upgrade": "x"}, 400), ("TRACE", {}, 405), ("POST", {}, 401)],
    ids=["host", "upgrade", "method", "mode"],
)
async def test_a_callback_url_is_not_logged(tmp_path: Path, method: str, headers: dict[str, str], status: int) -> None:
    """The end is a credential: a check that refuses the request early keeps it out of the log too."""
    with open_gateway(tmp_path) as g:
        async with g.client(None) as fal:
            answer = await fal.request(method, "/api/fal/webhooks/fal/" + "seal" * 20, headers=headers)
        lines = g.lines()

    assert answer.status_code == status
    assert [line["path"] for line in lines] == ["/api/fal/webhooks/fal/"]
    assert "seal" not in g.log.read_text()

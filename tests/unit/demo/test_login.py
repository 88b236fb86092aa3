from __future__ import annotations

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from proxy.demo.example_calls import ExampleCalls
from proxy.demo.login import LoginApp, cookie_name
from proxy.http.response import PROTECTIVE

HERE = "http://127.0.0.1:8080"
TOKENS = {"alice": "a.b.c", "bob": "d.e.f"}
OURS = {"origin": HERE, "sec-fetch-site": "same-origin"}
JSON = {"content-type": "application/json"}


async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": scope["raw_path"]})


def browser(origin: str = HERE) -> httpx2.AsyncClient:
    control = "http://127.0.0.1:9"
    examples = ExampleCalls(url=control, token="a.b.c", control=control, endpoint="acme/app", payload={})
    app = LoginApp(gateway, origin=origin, tokens=TOKENS, budgets={"alice": 20.0, "bob": 5.0}, examples=examples)
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=origin)


@pytest.mark.parametrize(
    ("origin", "attributes"),
    [
        (HERE, "fal-session=a.b.c; Path=/; HttpOnly; SameSite=Strict"),
        ("https://demo.test", "__Host-fal-session=a.b.c; Path=/; HttpOnly; SameSite=Strict; Secure"),
    ],
)
async def test_sign_in_and_out(origin: str, attributes: str) -> None:
    """A cookie no script can read and no other site can make use of; signing out empties the same one."""
    ours = {"origin": origin, "sec-fetch-site": "same-origin"}
    async with browser(origin) as page:
        signed = await page.post("/demo/session", json={"user": "alice"}, headers=ours)
        left = await page.delete("/demo/session", headers=ours)

    assert (signed.status_code, left.status_code) == (204, 204)
    assert signed.headers["set-cookie"] == attributes
    assert left.headers["set-cookie"] == attributes.replace("a.b.c", "") + "; Max-Age=0"
    assert "content-length" not in signed.headers
    assert {name.decode() for name, _ in PROTECTIVE} <= set(signed.headers)


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("GET", "/demo/users", {}, b"", 200),
        ("POST", "/demo/session", {**OURS, **JSON}, b'{"user":"eve"}', 400),
        ("POST", "/demo/fault", {**OURS, **JSON}, b'{"fault":"fire"}', 400),
        ("POST", "/demo/fault", {**OURS, **JSON}, b'{"fault":["locked"]}', 400),
        ("POST", "/demo/fault", {**OURS, **JSON}, b'{"fault":"locked"}', 503),
        ("POST", "/demo/fault", JSON, b'{"fault":"locked"}', 403),
        ("GET", "/demo/fault", {}, b"", 405),
        ("POST", "/demo/job", {**OURS, **JSON}, b"{}", 503),
        ("POST", "/demo/job", JSON, b"{}", 403),
        ("POST", "/demo/session", {**OURS, **JSON}, b'{"user":["alice"]}', 400),
        ("POST", "/demo/session", {**OURS, **JSON}, b'["alice"]', 400),
        ("POST", "/demo/session", {**OURS, **JSON}, b'{"user":"eve","user":"alice"}', 400),
        ("POST", "/demo/session", {**OURS, **JSON}, b"alice", 400),
        ("POST", "/demo/session", {**OURS, **JSON}, b"", 400),
        ("POST", "/demo/session", {**OURS, **JSON}, b" " * 2000, 413),
        ("POST", "/demo/session", {**OURS, "content-type": "text/plain"}, b'{"user":"alice"}', 415),
        ("POST", "/demo/session", OURS, b'{"user":"alice"}', 415),
        ("POST", "/demo/session", JSON, b'{"user":"alice"}', 403),
        ("POST", "/demo/session", {**JSON, "origin": "null"}, b'{"user":"alice"}', 403),
        ("POST", "/demo/session", {**JSON, "sec-fetch-site": "same-site"}, b'{"user":"alice"}', 403),
        ("POST", "/demo/session", {**JSON, **OURS, "origin": "http://127.0.0.1:8081"}, b'{"user":"alice"}', 403),
        ("DELETE", "/demo/session", {}, b"", 403),
        ("DELETE", "/demo/session", {"sec-fetch-site": "cross-site"}, b"", 403),
        ("GET", "/demo/session", {}, b"", 405),
        ("DELETE", "/demo/users", OURS, b"", 405),
        ("PUT", "/demo/session", OURS, b"", 405),
        ("GET", "/demo/", {}, b"", 404),
        ("GET", "/demo/users/", {}, b"", 404),
        ("GET", "/demo/users", {"upgrade": "websocket"}, b"", 400),
    ],
)
async def test_nothing_else_sets_a_cookie(
    method: str, path: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    """Strict JSON of a page of ours that names one of the users, or no cookie."""
    async with browser() as page:
        answer = await page.request(method, path, headers=headers, content=body)

    assert answer.status_code == status
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("path", ["/", "/demo", "/demonstration", "/api/fal/usage", "/Demo/session", "/%64emo/session"])
async def test_all_else_is_the_gateways(path: str) -> None:
    """A path that only looks like the demo's is the gateway's."""
    async with browser() as page:
        answer = await page.get(path)

    assert (answer.status_code, answer.content) == (299, path.encode())


def test_the_name() -> None:
    """With the strict prefix wherever every browser can keep it."""
    assert cookie_name("https://app.example.com").startswith("__Host-")
    assert not cookie_name(HERE).startswith("__")

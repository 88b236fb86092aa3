"""Tests of the app on a sandbox of fal, by the fixtures of `proxy.testing`."""

from __future__ import annotations

import base64
import json
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import uvicorn
from fastapi.testclient import TestClient
from gallery.app import build
from gallery.webhooks import signature

from proxy.testing import FalSandbox

CONFIG = Path(__file__).parents[1] / "fal-proxy.toml"
# A browser sends the Secure cookie over https. The sandbox calls webhooks on loopback by http; nothing listens there.
BROWSER, ORIGIN = "https://127.0.0.1", "http://127.0.0.1:9"
SUBMIT = "/api/fal/queue/fal-ai/flux/dev"
INPUT = {"prompt": "a lighthouse"}
SAME_ORIGIN = {"sec-fetch-site": "same-origin"}  # as a browser sends it
WEBHOOK_SECRET, OTHER_SECRET = ("whsec_" + base64.b64encode(secrets.token_bytes(32)).decode() for _ in range(2))
PATIENCE = 20.0  # seconds; waited for in full by a test that fails


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_SECRET", secrets.token_urlsafe(48))
    monkeypatch.setenv("FAL_PROXY_WEBHOOK_SECRETS", WEBHOOK_SECRET)


@pytest.fixture
def client(fal_sandbox: FalSandbox) -> Iterator[TestClient]:
    """The app in this process."""
    with TestClient(build(fal_sandbox.configure(CONFIG, public_origin=ORIGIN)), base_url=BROWSER) as client:
        yield client


@pytest.fixture
def server(fal_sandbox: FalSandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The app on a port of its own, for webhooks: fal calls the gateway, and the gateway calls the app."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        origin = f"http://127.0.0.1:{listening.getsockname()[1]}"
        monkeypatch.setenv("PUBLIC_ORIGIN", origin)
        app = build(fal_sandbox.configure(CONFIG, public_origin=origin))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", proxy_headers=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield origin
        server.should_exit = True
        thread.join(PATIENCE)


def signed_in(client: TestClient, name: str) -> dict[str, str]:
    """Signs in and returns the header of the token; the cookie is in *client*."""
    token = client.post("/login", json={"name": name}).json()["token"]
    return {"authorization": f"Bearer {token}"}


def test_the_cookie_and_the_token_are_one_session(client: TestClient) -> None:
    """A job that was submitted with the cookie is read with the token."""
    bearer = signed_in(client, "alice")
    job = client.post(SUBMIT, json=INPUT, headers=SAME_ORIGIN).json()
    client.cookies.clear()
    end = time.monotonic() + PATIENCE
    while client.get(job["status_url"], headers=bearer).status_code == 202:
        assert time.monotonic() < end
    result = client.get(job["response_url"], headers=bearer)

    assert result.json()["images"][0]["url"].startswith("http")
    assert job["status_url"].startswith(f"{ORIGIN}/api/fal/")
    assert client.get(job["response_url"], headers=signed_in(client, "bob")).status_code == 404


def test_the_cookie_is_for_this_site_alone(client: TestClient, fal_sandbox: FalSandbox) -> None:
    """No script reads it, and a page of another site cannot spend with it."""
    cookie = client.post("/login", json={"name": "alice"}).headers["set-cookie"]
    refused = client.post(SUBMIT, json=INPUT, headers={"sec-fetch-site": "cross-site"})

    assert all(attribute in cookie for attribute in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"))
    assert refused.status_code == 403
    assert fal_sandbox.counts.submits == 0


def test_without_a_session(client: TestClient) -> None:
    """Neither the app nor the gateway answers, also after the sign-out."""
    signed_in(client, "alice")
    client.post("/logout")

    assert client.get("/pictures").status_code == 401
    assert client.post(SUBMIT, json=INPUT, headers=SAME_ORIGIN).status_code == 401


def test_the_budget(client: TestClient) -> None:
    """The fourth picture of a day is refused."""
    bearer = signed_in(client, "alice")

    assert [client.post(SUBMIT, json=INPUT, headers=bearer).status_code for _ in range(4)] == [200, 200, 200, 402]


def test_results_arrive_by_webhook(server: str) -> None:
    """A job that is never polled ends up among the pictures of its user, and of no other."""
    with httpx2.Client(base_url=server, trust_env=False) as caller:
        alice, bob = (
            {"authorization": f"Bearer {caller.post('/login', json={'name': name}).json()['token']}"}
            for name in ("alice", "bob")
        )
        caller.post(SUBMIT, json={**INPUT, "num_images": 2}, headers=alice).raise_for_status()
        end = time.monotonic() + PATIENCE
        while not (pictures := caller.get("/pictures", headers=alice).json()):
            assert time.monotonic() < end
        others = caller.get("/pictures", headers=bob).json()

    assert [httpx2.get(url).headers["content-type"] for url in pictures] == ["image/jpeg"] * 2
    assert others == []


@pytest.mark.parametrize("change", ["nothing", "body", "secret", "age", "id"])
def test_only_signed_events_count(client: TestClient, change: str) -> None:
    """An event is stored once if the gateway signed it now, and not at all otherwise."""
    event = {"request_id": "1", "subject": "alice", "status": "OK", "payload": {"images": [{"url": "https://x/1"}]}}
    body = json.dumps(event).encode()
    sent = str(int(time.time()) - (301 if change == "age" else 0))
    secret = OTHER_SECRET if change == "secret" else WEBHOOK_SECRET
    headers = {
        "webhook-id": "msg_2" if change == "id" else "msg_1",
        "webhook-timestamp": sent,
        "webhook-signature": signature(secret, f"msg_1.{sent}.".encode() + body),
    }
    if change == "body":
        body = body.replace(b"alice", b"mallory")
    statuses = {client.post("/hooks/fal", content=body, headers=headers).status_code for _ in range(2)}

    assert statuses == ({204} if change == "nothing" else {401})
    assert client.get("/pictures", headers=signed_in(client, "alice")).json() == (
        ["https://x/1"] if change == "nothing" else []
    )

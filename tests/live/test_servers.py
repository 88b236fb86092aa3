"""The same application under each server: what callers see does not depend on it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from support.budgets import adjacent_ports
from support.gateway_process import PATIENCE, Rig, ask, bearer, javascript, message, until
from support.in_process_gateway import ENDPOINT, INPUT
from support.raw_http import replies
from support.servers import HOST, SERVERS, Served, served

SUBMIT = f"/api/fal/queue/{ENDPOINT}".encode()
JSON = b"Content-Type: application/json"


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home: Path = tmp_path_factory.mktemp(request.param)
    with Rig(home) as rig, served(request.param, home, rig.sandbox(), port=adjacent_ports(1)) as running:
        yield running


@pytest.mark.parametrize("script", ["queue.test.mjs", "streams.test.mjs", "uploads.test.mjs"])
def test_the_stock_client_works(server: Served, script: str) -> None:
    """Submit, poll, cancel, streams, runs and uploads of `@fal-ai/client`: every test passes."""
    javascript(script, GATEWAY=server.url, CONTROL=server.sandbox.control, REST=server.sandbox.rest)


def received(server: Served, path: str) -> int:
    """Returns how many requests with a path that ends with *path* the sandbox has received."""
    entries = httpx2.get(f"{server.sandbox.control}/journal", trust_env=False).json()
    return sum(entry["path"].endswith(path) for entry in entries)


def disconnect_during(server: Served, raw: bytes, path: str) -> None:
    """Sends *raw*, and closes the connection once the sandbox has received the request at *path*."""
    before = received(server, path)
    with socket.create_connection((HOST, server.port)) as caller:
        caller.sendall(raw)
        until(lambda: received(server, path) > before)


def test_a_poll_ends_with_its_caller(server: Served) -> None:
    """A caller who disconnects ends the request to fal; the record has the status 499."""
    with server.client() as alice:
        job = alice.post(f"queue/{ENDPOINT}", json=INPUT).json()
    server.fault(kind="latency", action="status", delay=PATIENCE)
    path = job["status_url"].removeprefix(f"http://{HOST}:{server.port}").encode()
    disconnect_during(server, message("GET", path, bearer()), "/status")

    until(lambda: any(line["status"] == 499 for line in server.requests()))
    server.fault()


def test_a_submit_outlives_its_caller(server: Served) -> None:
    """The job of a caller who has disconnected is made and accounted for."""
    before, records = server.submits(), len(server.requests())
    server.fault(kind="latency", action="submit", delay=0.3)
    raw = message("POST", SUBMIT, bearer(), JSON, body=json.dumps(INPUT).encode())
    disconnect_during(server, raw, f"/{ENDPOINT}")

    until(lambda: server.submits() == before + 1)
    until(lambda: [line["outcome"] for line in server.requests()[records:]] == ["accepted"])
    server.fault()


HOSTILE = {
    "upgrade": (message("GET", b"/api/fal/usage", bearer(), b"Upgrade: websocket"), 400),
    "no-host": (b"GET /api/fal/usage HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
    "bad-host": (b"GET /api/fal/usage HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n", 400),
    "two-sessions": (message("GET", b"/api/fal/usage", bearer("bob"), bearer("alice")), 400),
    "two-targets": (
        message("GET", b"/api/fal/proxy", bearer(), b"x-fal-target-url: https://a", b"x-fal-target-url: https://b"),
        400,
    ),
    "too-large": (message("POST", SUBMIT, bearer(), JSON, body=b'{"a":"' + b"a" * 200_000 + b'"}'), 413),
    "no-session": (message("POST", SUBMIT, JSON, body=b"{}"), 401),
    "method": (message("DELETE", SUBMIT, bearer()), 405),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_an_application_sees_is_refused(server: Served, name: str) -> None:
    """The verdict is the same under each server, and nothing reaches fal."""
    raw, status = HOSTILE[name]
    before = server.submits()
    answers = replies(ask((HOST, server.port), raw))

    assert [answer.status for answer in answers[:1]] == [status]
    assert server.submits() == before

from __future__ import annotations

import asyncio
import dataclasses
import hashlib

import pytest
from starlette.types import Message
from support.sandbox import KEY, QUICK, client, running, until

from proxy.sandbox.app import create_sandbox


@pytest.mark.parametrize("surface", ["queue", "run", "rest"])
@pytest.mark.parametrize(("method", "path"), [("GET", "/nowhere"), ("DELETE", "/acme/echo"), ("POST", "/acme/echo")])
async def test_every_answer_is_marked(surface: str, method: str, path: str) -> None:
    """Every answer has `x-sandbox: 1`, errors of the router included."""
    sandbox = create_sandbox(QUICK)

    answer = await client(getattr(sandbox, surface)).request(method, path)

    assert answer.headers["x-sandbox"] == "1"


async def test_the_log_has_the_request_as_it_arrived() -> None:
    """The log has method, raw path, query, headers and body hash, and only whether the key was accepted."""
    sandbox = create_sandbox(dataclasses.replace(QUICK, keys=frozenset({"alice:secret"})))
    http = client(sandbox.queue)
    await http.post("/acme/echo%2Fx/?logs=1&a=%20", content=b'{"a":1}')
    await http.post("/acme/echo", content=b"", headers={"authorization": "Key alice:wrong", "x-extra": "kept"})

    first, second = sandbox.control.request_log.entries
    assert (first.surface, first.method, first.path, first.query) == (
        "queue",
        "POST",
        "/acme/echo%2Fx/",
        "logs=1&a=%20",
    )
    assert (first.body_sha256, first.body_length) == (hashlib.sha256(b'{"a":1}').hexdigest(), 7)
    assert dict(first.headers)["authorization"] == "accepted"
    assert dict(second.headers)["authorization"] == "refused"
    assert dict(second.headers)["x-extra"] == "kept"
    assert "secret" not in repr(sandbox.control.request_log.entries)


async def test_a_body_over_the_cap_is_refused() -> None:
    """A body above the cap is 413 and logged up to where reading stopped; one at the cap passes."""
    sandbox = create_sandbox(dataclasses.replace(QUICK, max_body=10))
    http = client(sandbox.queue)

    assert (await http.post("/acme/echo", content=b'"12345678"')).status_code == 200
    refused = await http.post("/acme/echo", content=b'"123456789"')

    assert (refused.status_code, refused.json()["error_type"]) == (413, "payload_too_large")
    assert refused.headers["x-sandbox"] == "1"


async def test_a_disconnect_within_the_body_starts_nothing() -> None:
    """Half a body and a disconnect are logged, and make no job and no answer."""
    async with running() as rig:
        host, _, port = rig.queue.removeprefix("http://").partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /acme/echo HTTP/1.1\r\nhost: x\r\nauthorization: Key a:b\r\ncontent-length: 9\r\n\r\n{}")
        await writer.drain()
        writer.close()
        await until(lambda: rig.sandbox.control.request_log.entries)

        (entry,) = rig.sandbox.control.request_log.entries
        assert entry.body_length == 2
        assert rig.sandbox.control.request_log.counts()["submits"] == {"total": 0, "by_endpoint": {}}


async def test_a_chunked_body_is_joined() -> None:
    """Chunks are joined before the request is handled."""
    sandbox = create_sandbox(QUICK)
    pieces: list[Message] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.request", "body": b"}"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return pieces.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(name.encode(), value.encode()) for name, value in KEY.items()]
    scope = {"type": "http", "method": "POST", "path": "/acme/echo", "query_string": b"", "headers": headers}
    await sandbox.queue(scope, receive, send)

    assert sent[0]["status"] == 200
    assert sandbox.control.request_log.entries[0].path == "/acme/echo"

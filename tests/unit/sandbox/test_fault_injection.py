from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Callable

import httpx2
import pytest
import uvloop
from support.sandbox import KEY, QUICK, Rig, Server, client, running, until

from proxy.sandbox.app import create_sandbox
from proxy.sandbox.connection import NoSocketError
from proxy.sandbox.fault_injection import INVALID_JSON, NON_HTTP_BYTES
from proxy.sandbox.faults import Fault, Kind

RESET = b"<reset>"


async def raw(rig: Rig) -> bytes:
    """Returns the bytes that answer a submit until the connection ends; `<reset>` where it was reset."""
    host, _, port = rig.queue.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = ["POST /acme/echo HTTP/1.1", "host: x", "authorization: Key a:b", "content-length: 2", "connection: close"]
    writer.write("\r\n".join([*head, "", "{}"]).encode())
    answer = bytearray()
    try:
        while chunk := await reader.read(65536):
            answer += chunk
    except ConnectionResetError:
        answer += RESET
    writer.close()
    return bytes(answer)


def submits(rig: Rig) -> object:
    counts = rig.sandbox.control.request_log.counts()["submits"]
    assert isinstance(counts, dict)
    return counts["total"]


def on_each_server(scenario: Callable[[Rig], Awaitable[None]], *, server: Server, loop: str) -> None:
    async def run() -> None:
        async with running(server=server) as rig:
            await scenario(rig)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if loop == "uvloop" else None) as runner:
        runner.run(run())


@pytest.mark.parametrize("server", ["httptools", "h11", "listener"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_broken_connection_reaches_the_caller(server: Server, loop: str) -> None:
    """Resets, non-HTTP bytes and truncation reach the caller from each of the servers."""

    async def scenario(rig: Rig) -> None:
        faults = rig.sandbox.control.faults
        faults.replace([Fault(Kind.RESET, "submit", count=1)])
        assert (await raw(rig), submits(rig)) == (RESET, 0)
        faults.replace([Fault(Kind.RESET, "submit", count=1, after=True)])
        assert (await raw(rig), submits(rig)) == (RESET, 1)
        faults.replace([Fault(Kind.GARBAGE, "submit", count=1)])
        assert (await raw(rig), submits(rig)) == (NON_HTTP_BYTES, 1)
        faults.replace([Fault(Kind.TRUNCATE, "submit", count=1)])
        head, _, body = (await raw(rig)).partition(b"\r\n\r\n")
        (length,) = [int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"content-length: ")]
        assert (head[:15], body[:10], len(body)) == (b"HTTP/1.1 200 OK", b'{"status":', length // 2)
        assert submits(rig) == 2
        assert json.loads((await raw(rig)).partition(b"\r\n\r\n")[2])["status"] == "IN_QUEUE"

    on_each_server(scenario, server=server, loop=loop)


@pytest.mark.parametrize("after", [False, True])
async def test_a_hang_ends_with_the_caller_or_the_sandbox(*, after: bool) -> None:
    """A hang sends no byte and ends at a disconnect or a close; with `after` the job exists."""
    async with running() as rig, httpx2.AsyncClient(headers=KEY) as http:
        rig.sandbox.control.faults.replace([Fault(Kind.HANG, "submit", after=after)])
        before = asyncio.all_tasks()
        with pytest.raises(httpx2.ReadTimeout):
            await http.post(f"{rig.queue}/acme/echo", json={}, timeout=0.1)
        await until(lambda: not [task for task in asyncio.all_tasks() - before if "run_asgi" in repr(task)])
        assert submits(rig) == int(after)

        waiting = asyncio.ensure_future(http.post(f"{rig.queue}/acme/echo", json={}))
        await until(lambda: len(rig.sandbox.control.request_log.entries) == 2)
        await rig.sandbox.close()
        assert (await waiting).status_code == 500


@pytest.mark.parametrize(
    ("fault", "status", "content_type", "body"),
    [
        (
            Fault(Kind.STATUS, status=503),
            503,
            "application/json",
            b'{"detail":"Service Unavailable","error_type":"runner_connection_error"}',
        ),
        (
            Fault(Kind.STATUS, status=429, headers={"retry-after": "7"}),
            429,
            "application/json",
            b'{"detail":"Too Many Requests","error_type":"concurrent_requests_limit"}',
        ),
        (
            Fault(Kind.STATUS, status=502, html=True),
            502,
            "text/html; charset=utf-8",
            b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>",
        ),
        (
            Fault(Kind.STATUS, status=499),
            499,
            "application/json",
            b'{"detail":"Client closed request","error_type":"client_cancelled"}',
        ),
        (Fault(Kind.NOT_JSON), 200, "application/json", INVALID_JSON),
        (Fault(Kind.REDIRECT, location="http://127.0.0.1:1/x"), 302, None, b""),
    ],
    ids=["fal's 503", "429", "front end's 502", "no registered status", "not json", "redirect"],
)
@pytest.mark.parametrize("after", [False, True])
async def test_a_fault_replaces_the_answer(
    fault: Fault, status: int, content_type: str | None, body: bytes, *, after: bool
) -> None:
    """Status, type, body and headers are the fault's; the job exists exactly with `after`."""
    sandbox = create_sandbox(dataclasses.replace(QUICK, faults=(dataclasses.replace(fault, after=after),)))

    answer = await client(sandbox.queue).post("/acme/echo", json={})

    assert (answer.status_code, answer.headers.get("content-type"), answer.content) == (status, content_type, body)
    assert answer.headers["x-sandbox"] == "1"
    assert answer.headers.get("location") == (fault.location if status == 302 else None)
    assert answer.headers.get("retry-after") == fault.headers.get("retry-after")
    assert sandbox.control.request_log.counts()["submits"] == {
        "total": int(after),
        "by_endpoint": {"acme/echo": 1} if after else {},
    }


@pytest.mark.parametrize(
    ("host", "method", "path"),
    [
        ("queue", "POST", "/acme/echo"),
        ("queue", "GET", "/acme/echo/requests/1/status"),
        ("queue", "GET", "/acme/echo/requests/1/status/stream"),
        ("run", "POST", "/acme/echo"),
        ("run", "POST", "/acme/echo/stream"),
        ("rest", "POST", "/storage/upload/initiate"),
    ],
)
async def test_a_locked_account_gets_fals_403(host: str, method: str, path: str) -> None:
    """The body is the one in public logs, and nothing is accepted."""
    sandbox = create_sandbox(dataclasses.replace(QUICK, faults=(Fault(Kind.LOCKED),)))

    answer = await client(getattr(sandbox, host)).request(method, path, json={})

    reason = "Exhausted balance. Top up your balance at fal.ai/dashboard/billing."
    assert (answer.status_code, answer.json()) == (403, {"detail": f"User is locked. Reason: {reason}"})
    assert sandbox.control.request_log.counts()["submits"] == {"total": 0, "by_endpoint": {}}


async def test_a_wrong_content_type_keeps_the_body() -> None:
    """The JSON is unchanged under text/html."""
    sandbox = create_sandbox(dataclasses.replace(QUICK, faults=(Fault(Kind.CONTENT_TYPE),)))

    answer = await client(sandbox.queue).post("/acme/echo", json={})

    assert answer.headers.get_list("content-type") == ["text/html; charset=utf-8"]
    assert answer.json()["status"] == "IN_QUEUE"


async def test_latency_only_delays() -> None:
    """The answer is unchanged and later; a delay can precede every other fault."""
    sandbox = create_sandbox(
        dataclasses.replace(
            QUICK, faults=(Fault(Kind.LATENCY, count=1, delay=0.1), Fault(Kind.STATUS, count=1, delay=0.1))
        )
    )
    start = asyncio.get_running_loop().time()

    answers = [await client(sandbox.queue).post("/acme/echo", json={}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 503]
    assert asyncio.get_running_loop().time() - start >= 0.2


@pytest.mark.parametrize("waiting", [True, False], ids=["before more comes", "with more at once"])
async def test_a_stream_is_truncated_in_its_first_event(*, waiting: bool) -> None:
    """A truncated stream has half an event and no end."""
    settings = dataclasses.replace(QUICK, run_seconds=60 if waiting else 0, faults=(Fault(Kind.TRUNCATE),))
    async with running(settings) as rig, httpx2.AsyncClient(headers=KEY) as http:
        async with http.stream("POST", f"{rig.run}/acme/echo/stream", json={}) as stream:
            pieces = stream.aiter_raw()
            event = await anext(pieces)
            with pytest.raises(httpx2.RemoteProtocolError):
                await anext(pieces)
        assert event == b'data: {"message":"Ech'


@pytest.mark.parametrize("kind", [Kind.RESET, Kind.GARBAGE, Kind.TRUNCATE])
async def test_in_process_a_broken_connection_is_an_exception(kind: Kind) -> None:
    """Without a socket the fault raises in the caller."""
    sandbox = create_sandbox(dataclasses.replace(QUICK, faults=(Fault(kind),)))

    with pytest.raises(NoSocketError):
        await client(sandbox.queue).post("/acme/echo", json={})


async def test_a_fault_of_one_key_leaves_the_others() -> None:
    """Two accounts: fal does not know the key of the first, and serves the second."""
    sandbox = create_sandbox(QUICK)
    sandbox.control.faults.replace([Fault(Kind.INVALID_KEY, key="old")])
    async with client(sandbox.queue) as http:
        refused = await http.post("/acme/echo", json={}, headers={"authorization": "Key old:secret"})
        served = await http.post("/acme/echo", json={}, headers={"authorization": "Key new:secret"})

    assert (refused.status_code, refused.json()["detail"]) == (401, "No user found for Key ID and Secret")
    assert served.status_code == 200
    assert [entry.key_id for entry in sandbox.control.request_log.entries] == ["old", "new"]
    await sandbox.close()

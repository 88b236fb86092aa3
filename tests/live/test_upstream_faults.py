"""Tests of failures of fal over real sockets: nothing is paid twice, and no secret is sent.

Each row is one way to fail, met by a submit and by a status poll through a gateway of its own.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

import fal_client
import httpx2
import pytest
from support.gateway_process import QUICK, Rig, javascript, until
from support.in_process_gateway import APP, ENDPOINT, FAL_KEY, INPUT, JOB, QUEUED, token
from support.scripted_upstream import Peer, Script

from proxy.sandbox.faults import Fault as Knob
from proxy.sandbox.faults import Kind

DEADLINE = 0.5  # seconds that fal is given here
SECRET = FAL_KEY.partition(":")[2]
CANARY = "the-operators-own-business"  # stands in what no caller may see
ACCEPTED = json.dumps(QUEUED).encode()
HTML = f"<html><title>502 Bad Gateway</title>{CANARY}</html>".encode()


def says(status: int, body: bytes = ACCEPTED, *fields: bytes, kind: bytes = b"application/json") -> bytes:
    head = [b"HTTP/1.1 %d X" % status, b"content-type: " + kind, b"content-length: %d" % len(body), *fields]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def fal_answer(status: int, /, *fields: bytes, **body: object) -> bytes:
    """Returns an answer of fal's own."""
    return says(status, json.dumps(body or {"detail": CANARY}).encode(), *fields)


def answer(raw: bytes) -> Script:
    """Hears the request, says *raw* and closes."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(raw)

    return script


def then(act: Callable[[Peer], Awaitable[None] | None], answer_bytes: bytes = b"") -> Script:
    """Reads the request, sends *answer*, and does *act*."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(answer_bytes)
        await peer.writer.drain()
        done = act(peer)
        if done is not None:
            await done

    return script


async def drip(peer: Peer) -> None:
    """Sends a byte now and then, for as long as anyone listens."""
    while not peer.writer.is_closing():
        peer.send(b" ")
        await asyncio.sleep(DEADLINE / 10)


@dataclass(frozen=True)
class Failure:
    """Failure of fal: *submit* and *poll* are the callers' statuses, *outcome* is the submit's in the log.

    *polls* is the number of upstream calls of one poll; a submit always has one.
    """

    script: Script
    submit: int
    outcome: str
    poll: int
    polls: int = 1
    retry_after: str | None = None


def lost(script: Script, *, polls: int = 1) -> Failure:
    """Returns a failure after which the job may run."""
    return Failure(script, 504, "unknown", 502, polls)


def refused(raw: bytes, status: int, poll: int | None = None, *, retry_after: str | None = None) -> Failure:
    """Returns the failure of an upstream that refuses."""
    return Failure(answer(raw), status, "refused", status if poll is None else poll, 1, retry_after)


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
CUT = HEAD + b"content-length: 5000\r\n\r\n" + ACCEPTED
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"%x\r\n%b\r\n" % (len(ACCEPTED), ACCEPTED)

FAILURES: dict[str, Failure] = {
    "reset after the request": lost(then(Peer.reset), polls=2),
    "closed after the request": lost(answer(b""), polls=2),
    "reset within the head": lost(then(Peer.reset, b"HTTP/1.1 200")),
    "closed within the head": lost(answer(HEAD)),
    "reset within the body": lost(then(Peer.reset, CUT)),
    "closed within the body": lost(answer(CUT)),
    "closed before the last chunk": lost(answer(CHUNKED)),
    "silence": lost(then(Peer.gone)),
    "silence after the head": lost(then(Peer.gone, HEAD + b"content-length: 9\r\n\r\n")),
    "silence within the body": lost(then(Peer.gone, CUT)),
    "one byte at a time": lost(then(drip, HEAD + b"content-length: 5000\r\n\r\n")),
    "500": lost(answer(fal_answer(500))),
    "500 in HTML": lost(answer(says(500, HTML, kind=b"text/html"))),
    "502": lost(answer(says(502, HTML, kind=b"text/html"))),
    "503 in HTML": lost(answer(says(503, HTML, b"retry-after: 7", kind=b"text/html"))),
    "504": lost(answer(fal_answer(504))),
    "504 of the caller's own timeout": lost(answer(fal_answer(504, b"x-fal-request-timeout-type: user"))),
    "520": lost(answer(says(520, HTML, kind=b"text/html"))),
    "599": lost(answer(fal_answer(599))),
    "302": lost(answer(says(302, b"", b"location: http://127.0.0.1:9/" + CANARY.encode()))),
    "307": lost(answer(says(307, b"", b"location: /again"))),
    "304": lost(answer(b"HTTP/1.1 304 X\r\n\r\n")),
    "101": lost(answer(b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")),
    "not HTTP": lost(answer(b"\x15\x03\x01\x00\x02\x02\x50")),
    "HTTP/1.0": lost(answer(says(200).replace(b"HTTP/1.1", b"HTTP/1.0"))),
    "two lengths": lost(answer(says(200, ACCEPTED, b"content-length: 3"))),
    "length and chunks": lost(answer(says(200, ACCEPTED, b"transfer-encoding: chunked"))),
    "more than it said": lost(answer(says(200) + b"HTTP/1.1 200 X\r\n")),
    "endless head": lost(answer(says(200, ACCEPTED, *[b"x-a: " + b"b" * 1000] * 1000))),
    "17 MiB": lost(answer(says(200, b" " * (17 * 2**20)))),
    "HTML": lost(answer(says(200, HTML, kind=b"text/html"))),
    "JSON called text": lost(answer(says(200, kind=b"text/plain"))),
    "no type": lost(answer(says(200, kind=b""))),
    "compressed": lost(answer(says(200, gzip.compress(ACCEPTED), b"content-encoding: gzip"))),
    "cut JSON": lost(answer(says(200, ACCEPTED[:-9]))),
    "a list": lost(answer(says(200, b"[]"))),
    "our key in it": lost(answer(fal_answer(200, request_id=JOB, status="IN_QUEUE", echo=FAL_KEY))),
    "our secret in it": lost(answer(fal_answer(200, request_id=JOB, status="IN_QUEUE", echo=SECRET))),
    "no job": replace(lost(answer(fal_answer(200, status="IN_QUEUE"))), poll=200),
    "a job that is a path": replace(lost(answer(fal_answer(200, request_id="../x"))), poll=200),
    "a job that is a number": replace(lost(answer(fal_answer(200, request_id=7))), poll=200),
    "503 in JSON": refused(fal_answer(503, b"retry-after: 7"), 503, 502, retry_after="7"),
    "429": refused(fal_answer(429, b"retry-after: 9"), 429, retry_after="9"),
    "429 without a time": refused(fal_answer(429), 429, retry_after="1"),
    "429 for a year": refused(fal_answer(429, b"retry-after: 31536000"), 429, retry_after="300"),
    "429 until a date": refused(fal_answer(429, b"retry-after: Mon, 23 Nov 2026 00:00:00 GMT"), 429, retry_after="1"),
    "429 until a late date": refused(
        fal_answer(429, b"retry-after: Fri, 23 Nov 2096 00:00:00 GMT"), 429, retry_after="300"
    ),
    "429 of many digits": refused(fal_answer(429, b"retry-after: 99999999999999999999"), 429, retry_after="300"),
    "401": refused(fal_answer(401), 503, retry_after="20"),
    "403": refused(fal_answer(403), 503, retry_after="20"),
    "401 in HTML": refused(says(401, HTML, kind=b"text/html"), 502),
    "400 in HTML": refused(says(400, HTML, kind=b"text/html"), 400),
    "418 in HTML": refused(says(418, HTML, kind=b"text/html"), 400),
    "422 with our key": refused(fal_answer(422, detail=[{"loc": ["body"], "msg": FAL_KEY, "type": "x"}]), 400),
    "422": refused(fal_answer(422, detail=[{"loc": ["body", "prompt"], "msg": "no", "type": "x"}]), 422),
    "408": refused(fal_answer(408, detail="slow"), 400, 408),
    "409": refused(fal_answer(409, detail="twice"), 400, 409),
    "404": refused(fal_answer(404, status="NOT_FOUND"), 404),
}


def unfit(response: httpx2.Response) -> bool:
    """Returns True where *response* has something that is for the operator only."""
    fields = b"".join(name + b": " + value for name, value in response.headers.raw)
    return any(text.encode() in fields + response.content for text in (CANARY, FAL_KEY, SECRET, "evil"))


@pytest.mark.parametrize("name", FAILURES)
def test_failures(rig: Rig, name: str) -> None:
    """The answer leads on, a submit is sent once, and no secret of fal's answer is shown."""
    failure = FAILURES[name]
    upstream = rig.upstream(failure.script)
    gateway = rig.gateway(upstream.url, fal={"submit_seconds": DEADLINE, "poll_seconds": DEADLINE})
    with gateway.client() as client:
        submitted = client.post(f"queue/{ENDPOINT}", json=INPUT)
        submits = upstream.accepted
        polled = client.get(f"queue/{APP}/requests/{gateway.job()}/status")
    until(lambda: len(gateway.requests()) == 2)

    assert (submitted.status_code, submits) == (failure.submit, 1)
    assert (polled.status_code, upstream.accepted - submits) == (failure.poll, failure.polls)
    assert gateway.requests()[0]["outcome"] == failure.outcome
    # Only with this field does no stock client replay a 504, and only without it do they replay what was not done.
    assert submitted.headers.get("x-fal-request-timeout-type") == ("user" if failure.submit == 504 else None)
    assert submitted.headers.get("retry-after") == failure.retry_after
    assert not unfit(submitted)
    assert not unfit(polled)


def test_nobody_listens(rig: Rig) -> None:
    """A refused connection is a 503 that may be replayed, at once, to a submit and a poll alike."""
    with refusing() as port:
        gateway = rig.gateway(f"http://127.0.0.1:{port}")
        with gateway.client() as client:
            submitted = client.post(f"queue/{ENDPOINT}", json=INPUT)
            polled = client.get(f"queue/{APP}/requests/{gateway.job()}/status")
    until(lambda: len(gateway.requests()) == 2)

    assert [answer.status_code for answer in (submitted, polled)] == [503, 503]
    assert [answer.json()["error_type"] for answer in (submitted, polled)] == ["upstream_unreachable"] * 2
    assert [answer.headers["retry-after"] for answer in (submitted, polled)] == ["1", "1"]
    assert gateway.requests()[0]["outcome"] == "not-sent"


def test_a_connection_that_is_reset_unheard(rig: Rig) -> None:
    """A reset is an unknown outcome, unless certainly no byte was sent before it."""

    async def reset(peer: Peer) -> None:
        peer.reset()

    upstream = rig.upstream(reset)
    gateway = rig.gateway(upstream.url)
    with gateway.client() as client:
        submitted = client.post(f"queue/{ENDPOINT}", json=INPUT)
        assert upstream.accepted == 1
        polled = client.get(f"queue/{APP}/requests/{gateway.job()}/status")

    outcome = gateway.request_line(submitted.headers["x-fal-request-id"])["outcome"]
    assert (submitted.status_code, outcome) in {(504, "unknown"), (503, "not-sent")}
    assert polled.status_code in {502, 503}
    assert upstream.accepted in {2, 3}


@contextmanager
def refusing() -> Iterator[int]:
    """A port that is bound and refuses connections, until a server listens on it."""
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_fields_of_fal_that_stay_behind(rig: Rig) -> None:
    """H14: of a good answer only the fields that clients read go on, and the job's id is a handle."""
    evil = (
        *(b"set-cookie: evil=1", b"location: https://evil.test/", b"access-control-allow-origin: https://evil.test"),
        *(b"server: evil", b"www-authenticate: Basic realm=evil", b"x-fal-cdn-token: evil", b"content-language: evil"),
        *(b"x-fal-served-from: evil", b"refresh: 0;url=evil", b"link: <evil>", b"strict-transport-security: evil"),
        *(b"x-fal-request-id: evil", b"x-fal-error-type: evil!", b"x-fal-request-timeout-type: Evil"),
    )
    gateway = rig.gateway(rig.upstream(answer(says(200, ACCEPTED, *evil))).url)
    with gateway.client() as client:
        submitted = client.post(f"queue/{ENDPOINT}", json=INPUT)
        polled = client.get(f"queue/{APP}/requests/{gateway.job()}/status")

    assert (submitted.status_code, polled.status_code) == (200, 200)
    assert not unfit(submitted)
    assert not unfit(polled)
    assert submitted.headers["x-fal-request-id"] == polled.headers["x-fal-request-id"] == gateway.job()


# --- the stock clients ------------------------------------------------------------------------------------------------

LOST_ANSWER = replace(QUICK, faults=(Knob(kind=Kind.RESET, action="submit", after=True),))


def accepted(control: str) -> int:
    """Returns the number of jobs that the sandbox accepted."""
    return int(httpx2.get(f"{control}/counts", trust_env=False).json()["submits"]["total"])


def test_javascript_does_not_replay_what_may_run(rig: Rig) -> None:
    """A lost answer of a running job is one 504: the stock client does not replay, and one job is paid."""
    sandbox = rig.sandbox(LOST_ANSWER)
    gateway = rig.gateway(sandbox.queue)
    javascript("unknown.test.mjs", GATEWAY=gateway.url)

    assert accepted(sandbox.control) == 1
    assert [line["outcome"] for line in gateway.requests()] == ["unknown"]


async def test_python_does_not_replay_what_may_run(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with fal_client, which replays up to ten times where it may."""
    sandbox = rig.sandbox(LOST_ANSWER)
    gateway = rig.gateway(sandbox.queue)
    monkeypatch.setattr(fal_client.client, "QUEUE_URL_FORMAT", f"{gateway.url}/queue/")
    client = fal_client.AsyncClient(key=token())
    with pytest.raises(fal_client.FalClientHTTPError) as unknown:
        await client.submit(ENDPOINT, arguments=INPUT)
    await (await client._client).aclose()

    assert (unknown.value.status_code, unknown.value.error_type) == (504, "outcome_unknown")
    assert accepted(sandbox.control) == 1


def test_javascript_replays_what_was_not_sent(rig: Rig) -> None:
    """fal is away at first: the stock client asks again by itself, gets its picture, and one job was paid."""
    with refusing() as port, ThreadPoolExecutor(1) as pool:
        gateway = rig.gateway(f"http://127.0.0.1:{port}")
        script = pool.submit(javascript, "away.test.mjs", GATEWAY=gateway.url)
        until(lambda: script.done() or gateway.requests())
        sandbox = rig.sandbox(port=port)
        script.result()

    assert accepted(sandbox.control) == 1
    submits = [line["outcome"] for line in gateway.requests() if line["action"] == "submit"]
    assert submits == ["not-sent"] * (len(submits) - 1) + ["accepted"]
    assert len(submits) > 1

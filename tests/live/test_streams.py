"""Status streams over real sockets: when events come, how streams end, and what is left of them."""

from __future__ import annotations

import json
import re
import statistics
import time
from contextlib import ExitStack

import pytest
from support.demo import demo
from support.gateway_process import JSON, PATIENCE, Rig, ask, message, until
from support.in_process_gateway import APP, AUDIENCE, ENDPOINT, FAL_KEY, INPUT, ISSUER, JOB, token
from support.raw_http import replies
from support.sandbox import picture_input
from support.scripted_upstream import Peer
from support.streams import (
    LAST_CHUNK,
    LATEST,
    WITHIN,
    Caller,
    Feed,
    chunk,
    content,
    head,
    status_event,
    stream_request,
    watch,
    whole,
)

SOON = 0.1  # seconds from fal's sending an event to its being with the caller, for most of them on a busy machine
BEAT = b"2\r\n:\n\r\n"  # the chunk of a comment
MANY = {"per_user": 100}


@pytest.mark.parametrize("mode", ["path", "header"])
def test_events_come_as_they_are_sent(rig: Rig, mode: str) -> None:
    """Most within 100 ms, with our ids and addresses, however fal's chunks are cut; logs=1 goes on to fal."""
    feed = Feed()
    gateway = rig.gateway(rig.upstream(feed).url)
    job = gateway.job()
    ours = f"{gateway.url}/queue/{APP}/requests/{job}"
    late = []
    with Caller(gateway.address, stream_request(job, mode=mode, query="?logs=true")) as caller:
        until(lambda: feed.open)
        assert caller.status == 200
        for number in range(20):
            event = status_event(logs=[{"message": f"line {number}."}])
            sent = rig.run(feed.give(*(event[at : at + 97] for at in range(0, len(event), 97))))
            late.append(caller.hear(f"line {number}.".encode()) - sent)
        rig.run(feed.give(status_event("COMPLETED")))
        answer = caller.rest()

    assert statistics.median(late) < SOON, late
    assert max(late) < LATEST, late
    assert feed.asked[0].startswith(f"GET /{APP}/requests/{JOB}/status/stream?logs=1 HTTP/1.1\r\n".encode())
    assert b"accept: text/event-stream\r\n" in feed.asked[0]
    fields = answer.split(b"\r\n\r\n")[0].lower()
    expected = (b"content-type: text/event-stream", b"no-store", b"x-accel-buffering: no", job.lower().encode())
    assert [field for field in expected if field not in fields] == []
    assert answer.endswith(LAST_CHUNK)
    events = [json.loads(event[6:]) for event in content(answer).decode().split("\n\n") if event]
    assert len(events) == 21
    assert {event["request_id"] for event in events} == {job}
    assert {(event["response_url"], event["status_url"], event["cancel_url"]) for event in events} == {
        (ours, f"{ours}/status", f"{ours}/cancel")
    }
    assert JOB.encode() not in answer.replace(job.encode(), b"")


def test_callers_leave(rig: Rig) -> None:
    """Fifty of fifty times fal's connection is closed within a second, and nothing is left of any."""
    feed = Feed()
    gateway = rig.gateway(rig.upstream(feed).url, streams=MANY)
    callers = [watch(gateway) for _ in range(50)]
    until(lambda: len(feed.open) == 50)
    rig.run(feed.give(status_event()))
    for caller in callers:
        caller.hear(b"\n\n")
    assert gateway.metric("fal_proxy_streams_open") == 50
    took = []
    for number, caller in enumerate(callers, 1):
        gone = caller.leave()
        until(lambda: len(feed.left) == number, 5 * WITHIN)  # noqa: B023 called at once
        took.append(feed.left[-1] - gone)

    assert max(took) < WITHIN, took
    until(lambda: gateway.metric("fal_proxy_upstream_active") == 0)
    until(lambda: len(gateway.requests()) == 50)
    assert gateway.metric("fal_proxy_streams_open") == 0
    assert {(line["status"], line["ended"]) for line in gateway.requests()} == {(200, "caller-left")}
    assert all(isinstance(line["response_bytes"], int) and line["response_bytes"] > 100 for line in gateway.requests())


def test_callers_leave_before_the_first_byte(rig: Rig) -> None:
    """A caller can leave while fal has not answered at all."""
    feed = Feed(first=b"")
    gateway = rig.gateway(rig.upstream(feed).url, streams=MANY)
    callers = [watch(gateway) for _ in range(20)]
    until(lambda: len(feed.open) == 20)
    took = []
    for number, caller in enumerate(callers, 1):
        gone = caller.leave()
        until(lambda: len(feed.left) == number, 5 * WITHIN)  # noqa: B023 called at once
        took.append(feed.left[-1] - gone)

    assert max(took) < WITHIN, took
    until(lambda: len(gateway.requests()) == 20)
    assert {line["status"] for line in gateway.requests()} == {499}


def test_a_slow_reader_slows_fal_down(rig: Rig) -> None:
    """fal's socket fills up while the caller does not read, and all of it comes in order when they do."""
    count, filler = 600, "x" * 100_000  # 60 MB
    accepted = []

    async def flood(peer: Peer) -> None:
        await peer.request()
        peer.send(head())
        for number in range(count):
            peer.send(chunk(status_event(logs=[{"message": f"{number}:{filler}"}])))
            await peer.writer.drain()
            accepted.append(number)
        peer.send(chunk(status_event("COMPLETED")))
        await peer.gone()

    gateway = rig.gateway(rig.upstream(flood).url)
    with watch(gateway) as caller:
        caller.hear(b'"message":"0:')
        stood = settled(accepted)
        answer = caller.rest()

    assert stood < count // 3, "kernel buffers, and ours, hold a few MB"
    assert answer.endswith(LAST_CHUNK)
    assert [int(number) for number in re.findall(rb'"message":"(\d+):', answer)] == list(range(count))


def settled(growing: list[int], seconds: float = 0.7) -> int:
    """Returns the length of *growing* once it has not grown for *seconds*."""
    size, since = len(growing), time.monotonic()
    while time.monotonic() < since + seconds:
        if len(growing) != size:
            size, since = len(growing), time.monotonic()
        time.sleep(0.01)
    return size


def test_silence_is_filled(rig: Rig) -> None:
    """A comment each heartbeat while fal says nothing, or nothing that is whole.

    It does not disturb what comes.
    """
    feed = Feed()
    gateway = rig.gateway(rig.upstream(feed).url, streams={"heartbeat_seconds": 0.2})
    event = status_event("COMPLETED")
    with watch(gateway) as caller:
        until(lambda: feed.open)
        started = time.monotonic()
        caller.hear(BEAT * 3)
        assert 0.5 < time.monotonic() - started < 6  # three of the default heartbeat take twelve
        rig.run(feed.give(b": ping\n\n", event[:40]))
        caller.received.clear()
        caller.hear(BEAT * 2)
        rig.run(feed.give(event[40:]))
        rest = caller.rest()

    assert rest.endswith(LAST_CHUNK)
    assert rest.count(b'data: {"status":"COMPLETED"') == 1


ENDINGS: dict[str, tuple[dict[str, float], float, bytes]] = {
    "silent": ({"idle_seconds": 1}, 600, b"fal-silent"),
    "max-age": ({"max_seconds": 1}, 600, b"max-age"),
    "expired": ({"outlive_session_seconds": 0}, 1, b"session-expired"),
    "expired-later": ({"outlive_session_seconds": 0.8}, 1, b"session-expired"),
}


@pytest.mark.parametrize(("bounds", "lifetime", "words"), ENDINGS.values(), ids=ENDINGS)
def test_a_stream_ends_well(rig: Rig, bounds: dict[str, float], lifetime: float, words: bytes) -> None:
    """With last words and a last chunk, in time; and fal's connection with it."""
    feed = Feed()
    session = {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "algorithm": "HS256",
        "secret_env": "SESSION_SECRET",
        "leeway_seconds": 0.5,
    }
    gateway = rig.gateway(rig.upstream(feed).url, streams=bounds, sessions=[session])
    bearer = f"Authorization: Bearer {token(lifetime=lifetime)}".encode()
    path = f"/api/fal/queue/{APP}/requests/{gateway.job()}/status/stream".encode()
    with Caller(gateway.address, message("GET", path, bearer)) as caller:
        started = time.monotonic()
        until(lambda: feed.open)
        rig.run(feed.give(status_event()))
        answer = caller.rest()
        took = time.monotonic() - started

    assert answer.endswith(b": ended, " + words + b"\n\n\r\n" + LAST_CHUNK), answer
    assert 0.4 < took < 10
    until(lambda: len(feed.left) == 1, WITHIN)
    until(gateway.requests)
    assert gateway.requests()[0]["ended"] == words.decode()


UNFIT: dict[str, bytes] = {
    "not-json": b"data: <html>\n\n",
    "not-an-object": b"data: [1]\n\n",
    "half": b'data: {"status":\n\n',
    "key": status_event(logs=[{"message": FAL_KEY}]),
    "escaped-key": status_event(logs=[{"message": "@"}]).replace(b"@", b"\\u0063" + FAL_KEY[1:].encode()),
    "secret-half": status_event(note=FAL_KEY.partition(":")[2]),
    "endless": b"data: " + b"x" * 1_100_000,
}


@pytest.mark.parametrize("event", UNFIT.values(), ids=UNFIT)
def test_what_is_unfit_does_not_pass(rig: Rig, event: bytes) -> None:
    """Unfit content ends the stream: content before it was forwarded, nothing after it."""
    feed = Feed()
    gateway = rig.gateway(rig.upstream(feed).url)
    with watch(gateway) as caller:
        until(lambda: feed.open)
        rig.run(feed.give(status_event(note="before"), event, status_event(note="after")))
        answer = caller.rest()

    assert b"before" in answer
    assert answer.endswith(b": ended, blocked\n\n\r\n" + LAST_CHUNK)
    for secret in (FAL_KEY, FAL_KEY.partition(":")[2], "after", "html", "xxx"):
        assert secret.encode() not in answer
        assert secret not in gateway.journal()
    until(lambda: feed.left)


def test_a_stream_that_fal_breaks_off(rig: Rig) -> None:
    """Ends with last words: the client may ask for the status, or watch again."""
    feed = Feed()
    gateway = rig.gateway(rig.upstream(feed).url)
    with watch(gateway) as caller:
        until(lambda: feed.open)
        rig.run(feed.give(status_event()))
        caller.hear(b"\n\n")
        rig.run(feed.reset())
        answer = caller.rest()

    assert answer.endswith(b": ended, fal-broke-off\n\n\r\n" + LAST_CHUNK)


REFUSALS: dict[str, tuple[bytes, int, str]] = {
    "unknown-job": (whole(404, {"status": "NOT_FOUND"}), 404, "job_not_found"),
    "our-key": (whole(401, {"detail": "Invalid key"}), 503, "service_paused"),
    "busy": (whole(429, {"detail": "slow down"}, b"retry-after: 7"), 429, "upstream_rate_limited"),
    "failed": (whole(500, {"detail": "oops"}), 502, "upstream_failed"),
    "page": (whole(200, b"<html>", kind=b"text/html"), 502, "upstream_failed"),
    "json": (whole(200, {"status": "COMPLETED"}), 502, "upstream_failed"),
    "squeezed": (
        head(b"text/event-stream", b"content-encoding: gzip", b"connection: close") + LAST_CHUNK,
        502,
        "upstream_failed",
    ),
    "moved": (whole(302, {}, b"location: https://evil.test/"), 502, "upstream_failed"),
}


@pytest.mark.parametrize(("answer", "status", "kind"), REFUSALS.values(), ids=REFUSALS)
def test_fals_refusals_are_those_of_a_status(rig: Rig, answer: bytes, status: int, kind: str) -> None:
    """Before there are events, fal's answer means what it means to a status read.

    The caller's place is free again.
    """
    feed = Feed(first=answer)
    gateway = rig.gateway(rig.upstream(feed).url, streams={"per_user": 1})
    for _ in range(2):
        with watch(gateway) as caller:
            answer = caller.rest()
        assert caller.status == status
        assert f'"error_type":"{kind}"'.encode() in answer


def test_fal_is_away(rig: Rig) -> None:
    """A closed port is a 503: nothing was done."""
    gateway = rig.gateway("http://127.0.0.1:9")
    with watch(gateway) as caller:
        assert caller.status == 503


def test_streams_have_caps(rig: Rig) -> None:
    """A user's and the worker's own; a place is free again when its stream ends."""
    feed = Feed()
    gateway = rig.gateway(rig.upstream(feed).url, streams={"per_user": 2, "per_worker": 3})
    with watch(gateway) as first, watch(gateway):
        until(lambda: len(feed.open) == 2)
        with watch(gateway) as third:
            assert (third.status, b"too_many_streams" in third.rest()) == (429, True)
        with watch(gateway, subject="bob"):
            until(lambda: len(feed.open) == 3)
            with watch(gateway, subject="carol") as fifth:
                assert (fifth.status, b"overloaded" in fifth.rest()) == (503, True)
        until(lambda: len(feed.left) == 1)
        first.leave()
        until(lambda: len(feed.left) == 2)
        with watch(gateway) as again:
            assert again.status == 200


def test_streams_do_not_starve_submits(rig: Rig) -> None:
    """A hundred of them leave the pool of submits and polls as it was."""
    feed = Feed()

    async def fal(peer: Peer) -> None:
        start = await peer.reader.readexactly(4)
        if start == b"GET ":
            await feed(peer)
        else:
            await peer.request()
            peer.send(whole(200, {"status": "IN_QUEUE", "request_id": JOB}))
            await peer.gone()

    crowd = {"max_connections_per_address": 200}
    gateway = rig.gateway(rig.upstream(fal).url, server=crowd, fal={"max_connections": 1}, streams=MANY)
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(watch(gateway))
        until(lambda: len(feed.open) == 100)
        with gateway.client("bob") as client:
            assert client.post(f"queue/{ENDPOINT}", json=INPUT).status_code == 200
    until(lambda: len(feed.left) == 100)


@pytest.mark.parametrize(("error", "used"), [(None, 1.0), ("Invalid status code: 422", 0.0)], ids=["good", "failed"])
def test_the_last_event_settles_the_job(rig: Rig, error: str | None, used: float) -> None:
    """As a status does: when the caller hears of the end, its place and its price are settled already."""
    feed = Feed()

    async def fal(peer: Peer) -> None:
        line = await peer.reader.readuntil(b" HTTP")
        if b"/status/stream" in line:
            await feed(peer)
            return
        # A submit, or the look at the job's status before a submit is refused for the one in flight.
        await peer.request()
        peer.send(whole(202 if line.startswith(b"GET") else 200, {"status": "IN_QUEUE", "request_id": JOB}))
        await peer.gone()

    gateway = rig.gateway(
        rig.upstream(fal).url,
        endpoints=[{"id": ENDPOINT, "price": "1"}],
        budgets=[{"name": "day", "per": "user", "window": "24h", "limit": 10}],
        in_flight=[{"name": "jobs", "per": "user", "limit": 1}],
    )
    with gateway.client() as client:
        assert client.post(f"queue/{ENDPOINT}", json=INPUT).status_code == 200
        assert client.post(f"queue/{ENDPOINT}", json=INPUT).status_code == 429
        with watch(gateway) as caller:
            until(lambda: feed.open)
            rig.run(feed.give(status_event("COMPLETED", **({} if error is None else {"error": error}))))
            caller.hear(b"COMPLETED")
            expected = client.get("usage").json()
            assert client.post(f"queue/{ENDPOINT}", json=INPUT).status_code == 200

    assert (expected["budgets"][0]["used"], expected["in_flight"][0]["used"]) == (used, 0)


def test_strangers_get_no_stream(rig: Rig) -> None:
    """Another's job is the same 404 as one that never was, and fal hears nothing."""
    upstream = rig.upstream(Feed())
    gateway = rig.gateway(upstream.url)
    bodies = set()
    for job in (gateway.job("bob"), JOB, "x", gateway.job()[:-1]):
        with Caller(gateway.address, stream_request(job)) as caller:
            assert caller.status == 404
            bodies.add(caller.rest().rpartition(b"\r\n\r\n")[2])

    assert len(bodies) == 1
    assert upstream.accepted == 0


def test_a_stop_ends_streams_well() -> None:
    """On SIGTERM: last words, the last chunk, and the process ends at once although the job runs on."""
    with demo("--json") as process:
        assert process.stdout is not None
        expected = json.loads(process.stdout.readline())
        host, port = expected["url"].removeprefix("http://").split(":")
        bearer = f"Authorization: Bearer {expected['tokens']['alice']}".encode()
        path = f"/api/fal/queue/{ENDPOINT}".encode()
        submit = message("POST", path, bearer, JSON, body=json.dumps(picture_input()).encode())
        job = json.loads(ask((host, int(port)), submit).rpartition(b"\r\n\r\n")[2])
        stream = job["status_url"].removeprefix(expected["url"]).encode() + b"/stream"
        with Caller((host, int(port)), message("GET", stream, bearer)) as caller:
            caller.hear(b"IN_QUEUE")
            started = time.monotonic()
            process.terminate()
            answer = caller.rest()
            process.wait(PATIENCE)
            took = time.monotonic() - started

    assert answer.endswith(b": ended, shutdown\n\n\r\n" + LAST_CHUNK)
    assert process.returncode == 0
    assert took < 8


def test_a_revoked_session_ends_its_streams(rig: Rig) -> None:
    """A stream of a session that ends itself is over within five seconds; another session's goes on."""
    feed = Feed()
    gateway = rig.gateway(rig.upstream(feed).url)
    path = f"/api/fal/queue/{APP}/requests/{gateway.job()}/status/stream".encode()
    fields = [f"Authorization: Bearer {token(lifetime=lifetime)}".encode() for lifetime in (600, 601)]
    with (
        Caller(gateway.address, message("GET", path, fields[0])) as ended,
        Caller(gateway.address, message("GET", path, fields[1])) as other,
    ):
        until(lambda: len(feed.open) == 2)
        rig.run(feed.give(status_event()))
        other.hear(b"data: ")
        started = time.monotonic()
        (reply,) = replies(ask(gateway.address, message("DELETE", b"/api/fal/session", fields[0])))
        answer = ended.rest()
        took = time.monotonic() - started
        rig.run(feed.give(status_event()))
        still_open = len(feed.open)

    assert reply.status == 204
    assert answer.endswith(b": ended, session-revoked\n\n\r\n" + LAST_CHUNK), answer
    assert took < 8  # five are promised
    assert still_open == 1

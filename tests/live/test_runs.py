"""Runs and run streams over real sockets: a caller who leaves, a model that breaks off, and who pays."""

from __future__ import annotations

import json
import statistics
import time
from typing import Any

import pytest
from support.gateway_process import JSON, Gateway, Rig, message, until
from support.in_process_gateway import AUDIENCE, FAL_KEY, INPUT, ISSUER, JOB, token
from support.streams import (
    ALL_ACTIONS,
    LAST_CHUNK,
    LATEST,
    WITHIN,
    Caller,
    Feed,
    chunk,
    content,
    head,
    run_request,
    whole,
)

SOON = 0.1  # seconds from fal's sending a piece to its being with the caller, for most of them on a busy machine
MONEY: dict[str, Any] = {
    "endpoints": [{**ALL_ACTIONS, "price": "1"}],
    "budgets": [{"name": "day", "per": "user", "window": "24h", "limit": 100}],
    "in_flight": [{"name": "jobs", "per": "user", "limit": 1}],
}
BINARY = head(b"application/octet-stream")


def spent(gateway: Gateway) -> tuple[float, float, int]:
    """Returns alice's used and reserved units, and her jobs in flight."""
    with gateway.client() as client:
        usage = client.get("usage").json()
    return usage["budgets"][0]["used"], usage["budgets"][0]["reserved"], usage["in_flight"][0]["used"]


def test_a_caller_leaves_a_run(rig: Rig) -> None:
    """fal's request goes on to its end, and is paid for: to leave early is not to run for free."""
    feed = Feed(first=b"")
    gateway = rig.gateway(rig.upstream(feed).url, **MONEY)
    with Caller(gateway.address, run_request()):
        until(lambda: feed.open)
    time.sleep(0.3)  # were it cut off, it would be by now: a poll is within 50 ms
    assert (feed.left, spent(gateway)) == ([], (0.0, 1.0, 1))
    rig.run(feed.end(whole(200, {"images": []})))

    until(lambda: spent(gateway) == (1.0, 0.0, 0))
    until(lambda: any(line["action"] == "run" for line in gateway.requests()))
    assert len(feed.asked) == 1


def test_callers_leave_a_run_stream(rig: Rig) -> None:
    """fal's connection is closed within a second, ten of ten times, and each is paid for."""
    feed = Feed()
    gateway = rig.gateway(rig.upstream(feed).url, **MONEY)
    took = []
    for number in range(1, 11):
        with Caller(gateway.address, run_request("/stream")) as caller:
            until(lambda: len(feed.asked) == number and feed.open)  # noqa: B023 called at once
            rig.run(feed.give(b'data: {"n": 1}\n\n'))
            caller.hear(b"\n\n")
            assert spent(gateway) == (number - 1, 1.0, 1)
            gone = caller.leave()
        until(lambda: len(feed.left) == number, 5 * WITHIN)  # noqa: B023 called at once
        took.append(feed.left[-1] - gone)
        until(lambda: spent(gateway) == (number, 0.0, 0))  # noqa: B023 called at once

    assert max(took) < WITHIN, took


def test_a_caller_leaves_before_a_run_stream_begins(rig: Rig) -> None:
    """A run whose caller left is closed after fal's head, and paid for."""
    feed = Feed(first=b"")
    gateway = rig.gateway(rig.upstream(feed).url, **MONEY)
    with Caller(gateway.address, run_request("/stream")):
        until(lambda: feed.open)
    time.sleep(0.3)  # were it cut off, it would be by now
    assert (feed.left, spent(gateway)) == ([], (0.0, 1.0, 1))
    rig.run(feed.end(head()))

    until(lambda: len(feed.left) == 1, WITHIN)
    until(lambda: spent(gateway) == (1.0, 0.0, 0))


def test_a_long_run_stream_is_listed_as_running(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream past the time that a run may take is running; once its caller has left it is completed."""
    monkeypatch.setattr("proxy.app.setup.gateway.CALL_MARGIN", 0.0)
    feed = Feed()
    gateway = rig.gateway(rig.upstream(feed).url, fal={"run_seconds": 0.2, "submit_seconds": 0.2}, **MONEY)

    def states() -> list[str]:
        with gateway.client() as client:
            return [job["state"] for job in client.get("jobs").json()["jobs"]]

    with Caller(gateway.address, run_request("/stream")) as caller:
        caller.hear(b"\r\n\r\n")
        overdue, seen = time.time() + 0.4, [states()]
        while time.time() < overdue:
            seen.append(states())
    until(lambda: states() == ["completed"])

    assert {state for listed in seen for state in listed} == {"running"}


def test_a_run_stream_holds_its_seat(rig: Rig) -> None:
    """A run stream is in flight for as long as it is open."""
    feed = Feed(head(b"text/event-stream", b"connection: close"))
    gateway = rig.gateway(rig.upstream(feed).url, **MONEY)
    with Caller(gateway.address, run_request("/stream")) as first:
        first.hear(b"\r\n\r\n")
        with Caller(gateway.address, run_request("/stream")) as second:
            assert (second.status, b"too_many_jobs" in second.rest()) == (429, True)
        rig.run(feed.end())
        assert first.rest().endswith(LAST_CHUNK)
    with Caller(gateway.address, run_request("/stream")) as third:
        assert third.status == 200
    until(lambda: spent(gateway) == (2.0, 0.0, 0))


@pytest.mark.parametrize("first", [head(), BINARY], ids=["events", "bytes"])
def test_pieces_come_as_they_are_sent(rig: Rig, first: bytes) -> None:
    """Each within 100 ms and unchanged, whole or not."""
    feed = Feed(first)
    gateway = rig.gateway(rig.upstream(feed).url, endpoints=[ALL_ACTIONS])
    late, given = [], b""
    with Caller(gateway.address, run_request("/stream")) as caller:
        until(lambda: feed.open)
        for number in range(20):
            piece = b"data: %d\n" % number + b"\x00\xff\n" * (number % 3) + b"\n" * (number % 2)
            given += piece
            sent = rig.run(feed.give(piece))
            late.append(caller.hear(chunk(piece)) - sent)
        rig.run(feed.end())
        answer = caller.rest()

    assert statistics.median(late) < SOON, late
    assert max(late) < LATEST, late
    assert content(answer) == given
    assert answer.endswith(LAST_CHUNK)


@pytest.mark.parametrize("first", [head(), BINARY], ids=["events", "bytes"])
def test_what_fal_breaks_off_looks_broken_off(rig: Rig, first: bytes) -> None:
    """A broken stream is forwarded without a last chunk, and paid for."""
    feed = Feed(first)
    gateway = rig.gateway(rig.upstream(feed).url, **MONEY)
    with Caller(gateway.address, run_request("/stream")) as caller:
        until(lambda: feed.open)
        rig.run(feed.give(b"data: 1\n\n"))
        caller.hear(b"\n\n")
        rig.run(feed.reset())
        answer = caller.rest()

    assert answer.endswith(chunk(b"data: 1\n\n"))
    until(lambda: spent(gateway) == (1.0, 0.0, 0))
    until(lambda: any(line["action"] == "run-stream" for line in gateway.requests()))
    [line] = [line for line in gateway.requests() if line["action"] == "run-stream"]
    assert (line["status"], line["ended"], line["outcome"]) == (200, "fal-broke-off", "accepted")


@pytest.mark.parametrize(("first", "has_reason"), [(head(), True), (BINARY, False)], ids=["events", "bytes"])
def test_a_run_stream_ends_with_its_session(rig: Rig, first: bytes, has_reason: bool) -> None:
    """Events end with last words and a last chunk; bytes, which cannot say so, are cut."""
    feed = Feed(first)
    session = {"issuer": ISSUER, "audience": AUDIENCE, "algorithm": "HS256", "secret_env": "SESSION_SECRET"}
    gateway = rig.gateway(
        rig.upstream(feed).url,
        endpoints=[ALL_ACTIONS],
        sessions=[{**session, "leeway_seconds": 0.5}],
        streams={"outlive_session_seconds": 0},
    )
    fields = f"Authorization: Bearer {token(lifetime=1)}".encode(), JSON
    target = f"/api/fal/run/{ALL_ACTIONS['id']}/stream".encode()
    raw = message("POST", target, *fields, body=json.dumps(INPUT).encode())
    with Caller(gateway.address, raw) as caller:
        until(lambda: feed.open)
        rig.run(feed.give(b"data: 1\n\n"))
        answer = caller.rest()

    assert answer.endswith(b": ended, session-expired\n\n\r\n" + LAST_CHUNK) == has_reason
    assert answer.endswith(chunk(b"data: 1\n\n")) != has_reason
    until(lambda: feed.left)


def test_heartbeats_keep_out_of_lines(rig: Rig) -> None:
    """Heartbeats are between the lines of events only, and never in other content."""
    for first, beats in ((head(), True), (BINARY, False)):
        feed = Feed(first)
        gateway = rig.gateway(
            rig.upstream(feed).url, endpoints=[ALL_ACTIONS], streams={"heartbeat_seconds": 0.1, "idle_seconds": 1}
        )
        with Caller(gateway.address, run_request("/stream")) as caller:
            until(lambda: feed.open)  # noqa: B023 called at once
            rig.run(feed.give(b"data: 1\n"))
            if beats:
                caller.hear(chunk(b":\n"))
            rig.run(feed.give(b"data: ha"))
            caller.hear(b"data: ha")
            answer = caller.rest()  # fal is silent for a second
        assert (chunk(b":\n") in answer) == beats
        assert answer.endswith(chunk(b"data: ha"))


@pytest.mark.parametrize("secret", [FAL_KEY, FAL_KEY.partition(":")[2]], ids=["key", "secret-half"])
def test_the_key_does_not_pass(rig: Rig, secret: str) -> None:
    """However it is cut, not even its beginning; the answer is cut there."""
    feed = Feed(BINARY)
    gateway = rig.gateway(rig.upstream(feed).url, **MONEY)
    with Caller(gateway.address, run_request("/stream")) as caller:
        until(lambda: feed.open)
        rig.run(feed.give(b"before "))
        caller.hear(b"before ")
        rig.run(feed.give(*(secret[at : at + 3].encode() for at in range(0, len(secret), 3)), b" after"))
        answer = caller.rest()

    assert content(answer) == b"before "
    assert not answer.endswith(LAST_CHUNK)
    assert secret not in gateway.journal()
    until(lambda: spent(gateway) == (1.0, 0.0, 0))


def test_runs_have_a_pool_of_their_own(rig: Rig) -> None:
    """While every connection for runs is in use, one more run gets a 503, and a submit passes."""
    running = Feed(first=b"")
    queue = rig.upstream(Feed(first=whole(200, {"status": "IN_QUEUE", "request_id": JOB})))
    origins = {"queue_origin": queue.url, "run_origin": rig.upstream(running).url, "max_connections": 1}
    gateway = rig.gateway("http://127.0.0.1:9", endpoints=[ALL_ACTIONS], fal=origins)
    with Caller(gateway.address, run_request()) as first, gateway.client() as client:
        until(lambda: running.open)
        assert client.post(f"run/{ALL_ACTIONS['id']}", json=INPUT).status_code == 503
        assert client.post(f"queue/{ALL_ACTIONS['id']}", json=INPUT).status_code == 200
        rig.run(running.end(whole(200, {})))
        assert first.status == 200

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.in_process_gateway import APP, ENDPOINT, EVENTS, INPUT, JOB, QUEUED, open_gateway, reply
from support.streams import status_event

from proxy.http.client.messages import UpstreamResponse

SUBMIT = f"/api/fal/queue/{ENDPOINT}"


def events(*each: bytes) -> UpstreamResponse:
    return UpstreamResponse(200, (EVENTS,), b"".join(each))


async def test_events_are_told_in_our_terms(tmp_path: Path) -> None:
    """Ids and URLs are ours and the rest is fal's, in both modes; other ids and event names are dropped."""
    feed = events(
        b"id: " + JOB.encode() + b"\nevent: x\n" + status_event(gateway_request_id=JOB, queue_position=3), b": ping\n\n"
    )
    with open_gateway(tmp_path, reply(QUEUED), feed) as g:
        async with g.client() as alice:
            handle = (await alice.post(SUBMIT, json=INPUT)).json()["request_id"]
            path = f"{APP}/requests/{handle}/status/stream?logs=1"
            answers = [
                await alice.get(f"/api/fal/queue/{path}"),
                await alice.get("/api/fal/proxy", headers={"x-fal-target-url": f"https://queue.fal.run/{path}"}),
            ]

    for answer in answers:
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
        assert (answer.headers["x-accel-buffering"], answer.headers["x-fal-request-id"]) == ("no", handle)
        assert "no-store" in answer.headers["cache-control"]
        assert answer.text.count("\n") == 2
        body = json.loads(answer.text.removeprefix("data: "))
        assert (body["request_id"], body["queue_position"], body["status"]) == (handle, 3, "IN_PROGRESS")
        assert f"{JOB}." in answer.text
        assert JOB not in answer.text.replace(handle, "")


@pytest.mark.parametrize(
    ("more", "ended"),
    [
        (b"", "fal-ended"),
        (status_event("COMPLETED") + status_event(note="later"), "completed"),
        (b"data: no\n\n" + status_event(note="later"), "blocked"),
    ],
    ids=["just-so", "completed", "unfit"],
)
async def test_the_end_is_in_the_journal(tmp_path: Path, more: bytes, ended: str) -> None:
    """One log line is written at the end, with its reason and the bytes sent; nothing is sent after it."""
    with open_gateway(tmp_path, reply(QUEUED), events(status_event(note="before"), more)) as g:
        async with g.client() as alice:
            handle = (await alice.post(SUBMIT, json=INPUT)).json()["request_id"]
            answer = await alice.get(f"/api/fal/queue/{APP}/requests/{handle}/status/stream")
        line = g.lines()[-1]

    assert (line["action"], line["status"], line["ended"]) == ("status-stream", 200, ended)
    assert line["response_bytes"] == len(answer.content)
    assert ("before" in answer.text, "later" in answer.text) == (True, False)


async def test_streams_have_windows_of_their_own(tmp_path: Path) -> None:
    """The default is sixty a minute; polls do not count in it, nor it in theirs."""
    steps = [events(status_event("COMPLETED")) for _ in range(60)]
    with open_gateway(tmp_path, reply(QUEUED), *steps, reply({"status": "IN_PROGRESS"}, 202)) as g:
        async with g.client() as alice:
            handle = (await alice.post(SUBMIT, json=INPUT)).json()["request_id"]
            path = f"/api/fal/queue/{APP}/requests/{handle}/status"
            answers = [await alice.get(f"{path}/stream") for _ in range(61)]
            poll = await alice.get(path)

    assert [answer.status_code for answer in answers] == [200] * 60 + [429]
    assert '"stream-user";q=60;w=60' in answers[0].headers["ratelimit-policy"]
    assert '"poll-user"' in poll.headers["ratelimit-policy"]


async def test_a_stream_takes_no_body(tmp_path: Path) -> None:
    """As a status: what comes with it is read, bounded, and dropped."""
    with open_gateway(tmp_path, reply(QUEUED), events(status_event("COMPLETED"))) as g:
        async with g.client() as alice:
            handle = (await alice.post(SUBMIT, json=INPUT)).json()["request_id"]
            path = f"/api/fal/queue/{APP}/requests/{handle}/status/stream"
            small = await alice.request("GET", path, content=b"{}")
            large = await alice.request("GET", path, content=b"x" * 2000)
            posted = await alice.post(path)

    assert [answer.status_code for answer in (small, large, posted)] == [200, 413, 405]

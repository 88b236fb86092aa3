from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.in_process_gateway import APP, ENDPOINT, INPUT, QUEUED, LocalGateway, open_gateway, reply

from proxy.auth.authorization import Grant
from proxy.auth.caller import Caller
from proxy.errors import ConnectFailed, ExchangeBroken
from proxy.fal_api.operations import Action, Target
from proxy.gateway.admission import Admitted
from proxy.gateway.repeats.call_identity import IdempotencySettings, key_claim
from proxy.http.client.messages import UpstreamResponse
from proxy.payload.body import Payload
from proxy.ratelimit.rate_limiter import Quota

SUBMIT = f"/api/fal/queue/{ENDPOINT}"
GRANT = Grant(Caller("i", "s", "0" * 64, frozenset(), 0.0, {}), Target(Action.SUBMIT, ENDPOINT, APP), None)
PAYLOAD = Payload(ENDPOINT, {}, b"{}")
HEADER_MODE = {"x-fal-target-url": f"https://queue.fal.run/{ENDPOINT}"}


Sent = tuple[int, dict[str, Any], bool]


async def send(
    g: LocalGateway, key: str | None, who: str = "alice", *, header_mode: bool = False, **fields: object
) -> Sent:
    """Status, body, and whether the answer is marked as replayed."""
    headers = {**({} if key is None else {"idempotency-key": key}), **(HEADER_MODE if header_mode else {})}
    path = "/api/fal/proxy" if header_mode else SUBMIT
    async with g.client(who) as client:
        answer = await client.post(path, json={**INPUT, **fields}, headers=headers)
    return answer.status_code, answer.json(), answer.headers.get("idempotent-replayed") == "true"


def queued(number: int) -> UpstreamResponse:
    return reply({**QUEUED, "request_id": f"job-{number}"})


async def test_a_key_makes_one_job(tmp_path: Path) -> None:
    """The second request gets the first one's answer, marked, in either mode, and nothing is sent again."""
    with open_gateway(tmp_path, queued(1), queued(2)) as g:
        first = await send(g, "k-1")
        second = await send(g, "k-1", header_mode=True)

    assert first[:2] == second[:2]
    assert (first[2], second[2]) == (False, True)
    assert len(g.upstream.asked) == 1


async def test_a_replay_is_visible_in_the_log(tmp_path: Path) -> None:
    """The outcome of a repeat is `replayed`; that of the first call is what fal answered."""
    with open_gateway(tmp_path, queued(1)) as g:
        await send(g, "k")
        await send(g, "k")
        assert [line["outcome"] for line in g.lines()] == ["accepted", "replayed"]


async def test_keys_are_each_callers_own(tmp_path: Path) -> None:
    """Another caller, another key and no key are other jobs."""
    with open_gateway(tmp_path, queued(1), queued(2), queued(3), queued(4)) as g:
        answers = [await send(g, "k"), await send(g, "k", "bob"), await send(g, "j"), await send(g, None)]

    assert {answer[0] for answer in answers} == {200}
    assert len({str(answer[1]["request_id"]) for answer in answers}) == 4


async def test_a_replay_is_counted_as_a_request(tmp_path: Path) -> None:
    """In the submit's short window, and in nothing else; beyond it the answer is still kept, for later."""
    limit = {"name": "submits", "per": "user", "actions": ["submit"], "rate": "3/hour"}
    priced = {"id": ENDPOINT, "price": "1"}
    daily = {"name": "daily", "per": "user", "window": "day", "limit": 9}
    with open_gateway(tmp_path, queued(1), limits=[limit], endpoints=[priced], budgets=[daily]) as g:
        async with g.client() as client:
            key = {"idempotency-key": "k"}
            answers = [await client.post(SUBMIT, json=INPUT, headers=key) for _ in range(4)]
            left = (await client.get("/api/fal/usage")).json()["budgets"][0]["left"]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["ratelimit"].partition(";t")[0] for answer in answers[:3]] == [
        '"submits";r=2',
        '"submits";r=1',
        '"submits";r=0',
    ]
    assert (len(g.upstream.asked), left) == (1, 8.0)


async def test_another_body_under_a_key_is_refused(tmp_path: Path) -> None:
    """A 422 that names the header."""
    with open_gateway(tmp_path) as g:
        await send(g, "k")
        status, body, _ = await send(g, "k", prompt="another")

    assert status == 422
    assert body["detail"][0]["loc"] == ["header", "idempotency-key"]
    assert len(g.upstream.asked) == 1


@pytest.mark.parametrize("key", ["", " ", "a" * 129, "a b", "é"])
async def test_a_malformed_key_is_refused(tmp_path: Path, key: str) -> None:
    """1 to 128 visible ASCII characters."""
    with open_gateway(tmp_path) as g:
        async with g.client() as client:
            answer = await client.post(SUBMIT, json=INPUT, headers=[(b"idempotency-key", key.encode())])

    assert answer.status_code == 400
    assert "idempotency-key" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("first", "status"),
    [(ConnectFailed("refused"), 503), (reply({"detail": "no"}, 422), 422), (reply({}, 429), 429)],
    ids=["not-sent", "refused", "busy"],
)
async def test_a_refusal_frees_the_key(tmp_path: Path, first: UpstreamResponse | Exception, status: int) -> None:
    """A call that certainly made no job can be tried again under the same key."""
    with open_gateway(tmp_path, first, queued(1)) as g:
        answers = [await send(g, "k"), await send(g, "k")]

    assert [answer[0] for answer in answers] == [status, 200]


async def test_unknown_stays_unknown(tmp_path: Path) -> None:
    """A submit with an unknown outcome is never sent again under its key."""
    with open_gateway(tmp_path, ExchangeBroken("reset", sent=True), queued(1)) as g:
        answers = [await send(g, "k") for _ in range(3)]

    assert [answer[0] for answer in answers] == [504, 504, 504]
    assert len(g.upstream.asked) == 1


async def test_a_concurrent_twin_waits_for_the_first_answer(tmp_path: Path) -> None:
    """Ten at once make one job, and all ten get its id."""
    asked, release = asyncio.Event(), asyncio.Event()

    async def slowly() -> UpstreamResponse:
        asked.set()
        await release.wait()
        return queued(1)

    with open_gateway(tmp_path, slowly) as g:
        sending = [asyncio.create_task(send(g, "k")) for _ in range(10)]
        await asked.wait()
        release.set()
        answers = await asyncio.gather(*sending)

    assert {answer[0] for answer in answers} == {200}
    assert len({str(answer[1]["request_id"]) for answer in answers}) == 1
    assert sum(answer[2] for answer in answers) == 9
    assert len(g.upstream.asked) == 1


async def test_a_bad_payload_leaves_its_key_free(tmp_path: Path) -> None:
    """Validation comes first and claims nothing."""
    with open_gateway(tmp_path) as g:
        bad = await send(g, "k", prompt=7)
        good = await send(g, "k")

    assert (bad[0], good[0], good[2]) == (422, 200, False)


def test_a_key_is_not_forgotten_while_its_call_is_under_way() -> None:
    """However short answers are stored: a second call under the key would be paid for a second time."""
    settings = IdempotencySettings(ttl=60, hold=240, run_hold=480)
    run = replace(GRANT, target=replace(GRANT.target, action=Action.RUN))
    claims = [key_claim(b"k", grant, Admitted(PAYLOAD, (), Quota()), settings) for grant in (GRANT, run)]

    assert [(claim.ttl, claim.hold) for claim in claims] == [(240, 240), (480, 480)]
    assert claims[0].key != claims[1].key


RUN_PATH = f"/api/fal/run/{ENDPOINT}"
RUNS = [{"id": ENDPOINT, "actions": ["submit", "run", "run-stream"]}]


async def run(g: LocalGateway, key: str, rest: str = "", **fields: object) -> Sent:
    """As `send`, for a run."""
    async with g.client() as client:
        answer = await client.post(RUN_PATH + rest, json={**INPUT, **fields}, headers={"idempotency-key": key})
    return answer.status_code, answer.json(), answer.headers.get("idempotent-replayed") == "true"


async def test_a_key_makes_one_run(tmp_path: Path) -> None:
    """The model's answer is stored and sent again; another input under the key is refused."""
    with open_gateway(tmp_path, reply({"seed": 1}), reply({"seed": 2}), endpoints=RUNS) as g:
        answers = [await run(g, "k"), await run(g, "k"), await run(g, "k", prompt="another"), await run(g, "j")]

    assert answers[:2] == [(200, {"seed": 1}, False), (200, {"seed": 1}, True)]
    assert (answers[2][0], answers[3]) == (422, (200, {"seed": 2}, False))
    assert len(g.upstream.asked) == 2


async def test_a_key_of_a_run_is_not_one_of_a_submit(tmp_path: Path) -> None:
    """Each action has keys of its own."""
    with open_gateway(tmp_path, reply({"seed": 1}), queued(1), endpoints=RUNS) as g:
        answers = [await run(g, "k"), await send(g, "k")]

    assert [answer[0] for answer in answers] == [200, 200]
    assert "request_id" in answers[1][1]


async def test_a_runs_unknown_outcome_is_stored(tmp_path: Path) -> None:
    """A repeat gets the same answer, and fal is not called again."""
    with open_gateway(tmp_path, ExchangeBroken("reset", sent=True), reply({}), endpoints=RUNS) as g:
        answers = [await run(g, "k"), await run(g, "k")]

    assert [(answer[0], answer[1]["error_type"]) for answer in answers] == [(504, "outcome_unknown")] * 2
    assert len(g.upstream.asked) == 1


async def test_a_large_answer_is_not_stored(tmp_path: Path) -> None:
    """The repeat of a large answer is refused for good, and not run again."""
    large = reply({"text": "x" * 2000})
    with open_gateway(tmp_path, large, endpoints=RUNS, ledger={"max_stored_answer_bytes": 1024}) as g:
        answers = [await run(g, "k"), await run(g, "k")]

    assert [answer[0] for answer in answers] == [200, 400]
    assert (answers[1][1]["error_type"], answers[1][1]["request_id"]) == ("replay_unavailable", None)
    assert len(g.upstream.asked) == 1


async def test_a_stream_is_not_replayed(tmp_path: Path) -> None:
    """A stream's content is not stored, so a repeat is refused, and not with a 409 that clients replay."""
    with open_gateway(tmp_path, reply({"seed": 1}), endpoints=RUNS) as g:
        answers = [await run(g, "k", "/stream"), await run(g, "k", "/stream")]

    assert answers[0][0] == 200
    assert (answers[1][0], answers[1][1]["error_type"]) == (400, "replay_unavailable")
    assert len(g.upstream.asked) == 1

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support.in_process_gateway import APP, ENDPOINT, INPUT, QUEUED, LocalGateway, open_gateway, reply

from proxy.errors import ExchangeBroken
from proxy.http.client.messages import UpstreamResponse

PRICE = "has(input.seed) ? double(input.seed) : 0.0"
PRICED = {"id": ENDPOINT, "actions": ["submit", "status", "result", "cancel", "run"], "price": PRICE}
DAILY = {"name": "daily", "per": "user", "window": "day", "limit": 100}
MONEY = {"endpoints": [PRICED], "budgets": [DAILY], "limits": []}
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


def queued(number: int) -> UpstreamResponse:
    return reply({**QUEUED, "request_id": f"job-{number}"})


async def jobs(g: LocalGateway, query: str = "", who: str = "alice") -> dict[str, Any]:
    async with g.client(who) as client:
        answer = await client.get(f"/api/fal/jobs{query}")
    assert answer.status_code == 200, answer.text
    assert "no-store" in answer.headers["cache-control"]
    return dict(answer.json())


async def submit(g: LocalGateway, who: str = "alice", seed: int = 1) -> str:
    async with g.client(who) as client:
        return str((await client.post(f"/api/fal/queue/{ENDPOINT}", json={**INPUT, "seed": seed})).json()["request_id"])


async def test_a_caller_lists_its_own_jobs(tmp_path: Path) -> None:
    """Newest first, with handles that read the jobs; another caller's list has none of them."""
    with open_gateway(tmp_path, queued(1), queued(2), queued(3), **MONEY) as g:
        handles = [await submit(g), await submit(g, seed=2)]
        await submit(g, "bob")
        listed = await jobs(g)
        others = await jobs(g, who="bob")

    assert [job["request_id"] for job in listed["jobs"]] == handles[::-1]
    first = listed["jobs"][0]
    assert first.keys() == {"request_id", "endpoint", "state", "created_at", "ended_at", "price"}
    assert (first["endpoint"], first["state"], first["ended_at"], first["price"]) == (ENDPOINT, "queued", None, None)
    assert TIME.fullmatch(first["created_at"])
    assert listed["next_cursor"] is None
    assert len(others["jobs"]) == 1


async def test_states_follow_what_fal_says(tmp_path: Path) -> None:
    """A status read shows that a job runs, its end and its price; a run has no job."""
    script = (
        queued(1),
        reply({"status": "IN_PROGRESS"}, 202),
        reply({"status": "COMPLETED"}),
        queued(2),
        reply({"detail": [{"loc": ["body"], "msg": "no", "type": "x"}]}, 500),
        queued(3),
        reply({"status": "OK"}),
        reply({"images": []}),
        queued(4),
        reply({"status": "CANCELLATION_REQUESTED"}, 202),
        reply({"status": "COMPLETED", "error": "Request was cancelled", "error_type": "client_cancelled"}),
    )
    with open_gateway(tmp_path, *script, **MONEY) as g:
        async with g.client() as client:
            first = f"/api/fal/queue/{APP}/requests/{await submit(g, seed=3)}"
            await client.get(f"{first}/status")
            assert [job["state"] for job in (await jobs(g))["jobs"]] == ["running"]
            await client.get(f"{first}/status")
            await client.get(f"/api/fal/queue/{APP}/requests/{await submit(g)}")
            await client.put(f"/api/fal/queue/{APP}/requests/{await submit(g)}/cancel")
            await client.post(f"/api/fal/run/{ENDPOINT}", json={**INPUT, "seed": 2})
            running = f"/api/fal/queue/{APP}/requests/{await submit(g)}"
            await client.put(f"{running}/cancel")
            await client.get(f"{running}/status")
        listed = (await jobs(g))["jobs"]
        failed = (await jobs(g, "?state=failed"))["jobs"]

    assert [(job["state"], job["price"]) for job in listed] == [
        ("cancelled", 0.0),
        ("completed", 2.0),
        ("cancelled", 0.0),
        ("failed", 0.0),
        ("completed", 3.0),
    ]
    assert listed[1]["request_id"] is None
    assert all(TIME.fullmatch(job["ended_at"]) for job in listed)
    assert failed == [listed[3]]


async def test_pages_follow_each_other(tmp_path: Path) -> None:
    """Each job once, in order, and no cursor after the last."""
    with open_gateway(tmp_path, *[queued(number) for number in range(5)], **MONEY) as g:
        handles = [await submit(g) for _ in range(5)]
        seen: list[str] = []
        query = "?limit=2"
        while True:
            page = await jobs(g, query)
            seen += [job["request_id"] for job in page["jobs"]]
            if page["next_cursor"] is None:
                break
            query = f"?limit=2&cursor={page['next_cursor']}"

    assert seen == handles[::-1]


@pytest.mark.parametrize(
    "query",
    ["state=done", "limit=0", "limit=101", "limit=x", "cursor=", "cursor=AAAA", "cursor=%ff", "x=1", "limit=1&limit=2"],
)
async def test_a_malformed_query_is_refused(tmp_path: Path, query: str) -> None:
    """With a 400 that tells what the query takes."""
    with open_gateway(tmp_path) as g:
        async with g.client() as client:
            answer = await client.get(f"/api/fal/jobs?{query}")

    assert (answer.status_code, answer.json()["error_type"]) == (400, "bad_query")


async def test_the_list_needs_a_session_and_can_be_turned_off(tmp_path: Path) -> None:
    """Without a session it is a 401 like every route; turned off it is a 403 for all callers."""
    with open_gateway(tmp_path, jobs={"enabled": False}) as g:
        async with g.client(None) as nobody, g.client() as alice:
            answers = [
                await nobody.get("/api/fal/jobs"),
                await alice.get("/api/fal/jobs"),
                await alice.post("/api/fal/jobs"),
            ]

    assert [answer.status_code for answer in answers] == [401, 403, 405]


async def test_a_call_of_unknown_outcome_is_listed_as_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call without a job is queued during its time and unknown after it, also for the filter by state."""
    monkeypatch.setattr("proxy.app.setup.gateway.CALL_MARGIN", 0.0)
    seconds = {"submit_seconds": 0.2, "run_seconds": 0.2}
    broken = ExchangeBroken("reset by fal", sent=True)
    with open_gateway(tmp_path, broken, queued(2), fal=seconds, **MONEY) as g:
        async with g.client() as client:
            answer = await client.post(f"/api/fal/queue/{ENDPOINT}", json=INPUT)
        assert (answer.status_code, answer.json()["error_type"]) == (504, "outcome_unknown")
        handle = await submit(g)
        while not (unknown := (await jobs(g, "?state=unknown"))["jobs"]):
            pass
        known = (await jobs(g, "?state=queued"))["jobs"]
        both = (await jobs(g))["jobs"]

    assert [(job["state"], job["request_id"], job["price"]) for job in unknown] == [("unknown", None, None)]
    assert [(job["state"], job["request_id"]) for job in known] == [("queued", handle)]
    assert [job["state"] for job in both] == ["queued", "unknown"]

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from support.in_process_gateway import (
    APP,
    ENDPOINT,
    INPUT,
    JOB,
    QUEUED,
    LocalGateway,
    Step,
    open_gateway,
    reply,
)

from proxy.errors import ConnectFailed, ExchangeBroken
from proxy.http.client.messages import UpstreamResponse
from proxy.payload.validation.schema_file import SHIPPED

SUBMIT = f"/api/fal/queue/{ENDPOINT}"
PRICED = [{"id": ENDPOINT, "price": "input.num_images"}]
DAILY = {"name": "daily", "per": "user", "window": "day", "limit": 3}
DONE = reply({"status": "COMPLETED", "request_id": JOB})
FAILED = reply({"status": "COMPLETED", "request_id": JOB, "error": "Failed"})
SLOT = {"name": "jobs", "per": "user", "limit": 1}
BROKEN = ExchangeBroken("reset", sent=True)


def queued(number: int) -> UpstreamResponse:
    return reply({**QUEUED, "request_id": f"job-{number}"})


def paid(tmp_path: Path, *script: Step, **sections: object) -> AbstractContextManager[LocalGateway]:
    return open_gateway(tmp_path, *script, **{"endpoints": PRICED, "budgets": [DAILY], **sections})


async def allowance(g: LocalGateway, subject: str = "alice") -> dict[str, Any]:
    async with g.client(subject) as client:
        usage = (await client.get("/api/fal/usage")).json()
    return {**usage["budgets"][0], "jobs": [slot["used"] for slot in usage["in_flight"]]}


async def submit(g: LocalGateway, subject: str = "alice", **fields: object) -> dict[str, Any]:
    async with g.client(subject) as client:
        answer = await client.post(SUBMIT, json={**INPUT, **fields})
    return {**answer.json(), "status_code": answer.status_code, "headers": answer.headers}


async def follow(g: LocalGateway, handle: object, tail: str = "/status", method: str = "GET") -> None:
    async with g.client() as client:
        await client.request(method, f"/api/fal/queue/{APP}/requests/{handle}{tail}")


async def test_a_submit_reserves_its_price(tmp_path: Path) -> None:
    """From acceptance on the price is reserved, and no other caller's budget is touched."""
    with paid(tmp_path) as g:
        await submit(g, num_images=2)
        alice, bob = await allowance(g), await allowance(g, "bob")

    assert (alice["used"], alice["reserved"], alice["left"]) == (0.0, 2.0, 1.0)
    assert bob["left"] == 3.0
    assert str(alice["renews_at"]).endswith("T00:00:00Z")


async def test_a_spent_budget_is_a_402_that_names_it(tmp_path: Path) -> None:
    """The answer has its limit, the rest and the renewal; no request is sent, nothing is consumed."""
    with paid(tmp_path, queued(1), queued(2)) as g:
        await submit(g, num_images=2)
        refused = await submit(g, num_images=2)
        smaller = await submit(g, num_images=1)

    budget = refused["budget"]
    assert (refused["status_code"], refused["error_type"]) == (402, "budget_exceeded")
    assert (budget["name"], budget["limit"], budget["left"]) == ("daily", 3.0, 1.0)
    assert "The price is 2, and the budget daily has 1 of 3 left; it renews at " in str(refused["message"])
    assert smaller["status_code"] == 200
    assert len(g.upstream.asked) == 2


async def test_a_budget_refusal_gives_the_window_back(tmp_path: Path) -> None:
    """A refusal consumes nothing anywhere, the short windows included."""
    limits = [{"name": "two", "per": "user", "actions": ["submit"], "rate": "2/minute"}]
    with paid(tmp_path, queued(1), queued(2), limits=limits) as g:
        await submit(g, num_images=3)
        refused = [await submit(g, num_images=3) for _ in range(5)]
        last = await submit(g, "bob")

    assert {answer["status_code"] for answer in refused} == {402}
    assert last["status_code"] == 200


@pytest.mark.parametrize(
    ("step", "reserved"),
    [
        (ConnectFailed("refused"), 0.0),
        (reply({"detail": "no"}, 422), 0.0),
        (reply({"detail": "busy"}, 503), 0.0),
        (reply({"detail": "key"}, 401), 0.0),
        (BROKEN, 2.0),
        (reply({}, 500), 2.0),
        (reply({"no": "job"}), 2.0),
        (RuntimeError("a defect"), 2.0),
    ],
    ids=["not-sent", "refused", "busy", "key", "reset", "500", "no-job", "defect"],
)
async def test_what_is_not_certain_to_be_free_stays_reserved(tmp_path: Path, step: Step, reserved: float) -> None:
    """A definite refusal refunds; an unknown outcome keeps the money until it is swept."""
    with paid(tmp_path, step) as g:
        await submit(g, num_images=2)
        now = await allowance(g)

    assert (now["used"], now["reserved"]) == (0.0, reserved)


@pytest.mark.parametrize(
    ("answer", "tail", "method", "used"),
    [
        (DONE, "/status", "GET", 2.0),
        (FAILED, "/status", "GET", 0.0),
        (reply({"images": []}), "", "GET", 2.0),
        (reply({"detail": []}, 422), "", "GET", 0.0),
        (reply({"status": "OK"}), "/cancel", "PUT", 0.0),
    ],
    ids=["completed", "failed", "result", "failed-result", "cancelled"],
)
async def test_an_end_settles(tmp_path: Path, answer: UpstreamResponse, tail: str, method: str, used: float) -> None:
    """A finished job is spent; a failed or cancelled one is refunded; its seat is free either way."""
    slots = [{"name": "jobs", "per": "user", "limit": 1}]
    with paid(tmp_path, queued(1), answer, queued(2), in_flight=slots) as g:
        handle = (await submit(g, num_images=2))["request_id"]
        await follow(g, handle, tail, method)
        now = await allowance(g)
        again = await submit(g, num_images=1)

    assert (now["used"], now["reserved"], now["jobs"]) == (used, 0.0, [0])
    assert again["status_code"] == 200


async def test_a_job_is_settled_once(tmp_path: Path) -> None:
    """However often its end is seen."""
    with paid(tmp_path, queued(1), DONE) as g:
        handle = (await submit(g, num_images=2))["request_id"]
        for _ in range(3):
            await follow(g, handle)
        now = await allowance(g)

    assert (now["used"], now["reserved"]) == (2.0, 0.0)


async def test_fals_units_can_decide(tmp_path: Path) -> None:
    """With settle_by "billable" the result's units are what is spent, at most what was reserved."""
    billed = reply({"images": []}, 200, (b"x-fal-billable-units", b"1.25"))
    ledger = {"settle_by": "billable", "unit_price": 0.8}
    with paid(tmp_path, queued(1), DONE, billed, ledger=ledger) as g:
        handle = (await submit(g, num_images=2))["request_id"]
        await follow(g, handle)
        waiting = await allowance(g)
        await follow(g, handle, "")
        settled = await allowance(g)

    assert (waiting["used"], waiting["reserved"]) == (0.0, 2.0)
    assert (settled["used"], settled["reserved"]) == (1.0, 0.0)


async def test_too_many_jobs_are_a_429(tmp_path: Path) -> None:
    """Jobs in flight pass with time, so clients may ask again."""
    slots = [{"name": "jobs", "per": "user", "limit": 1}]
    with paid(tmp_path, queued(1), queued(2), in_flight=slots) as g:
        answers = [await submit(g), await submit(g), await submit(g, "bob")]

    assert [answer["status_code"] for answer in answers] == [200, 429, 200]
    assert answers[1]["error_type"] == "too_many_jobs"


async def test_an_observed_budget_only_reports(tmp_path: Path) -> None:
    """The header, the journal and the metrics say that it would have refused.

    The answer is as good as any.
    """
    budgets = [{**DAILY, "mode": "observe"}]
    limits = [{"name": "watched", "per": "user", "actions": ["submit"], "rate": "1/minute", "mode": "observe"}]
    with paid(tmp_path, queued(1), queued(2), budgets=budgets, limits=limits) as g:
        first, second = await submit(g, num_images=3), await submit(g, num_images=3)
        usage = await g.metrics()
        lines = [line for line in g.lines() if line["action"] == "submit"]

    assert [first["status_code"], second["status_code"]] == [200, 200]
    assert "would-deny" not in first["headers"]
    assert second["headers"]["would-deny"] == "watched, daily"
    assert [line["would_deny"] for line in lines] == [None, "watched, daily"]
    assert 'fal_proxy_would_deny_total{name="watched"} 1.0' in usage
    assert 'fal_proxy_would_deny_total{name="daily"} 1.0' in usage


async def test_a_plan_decides_the_budget(tmp_path: Path) -> None:
    """A caller without the claim has the plain limit."""
    budget = {**DAILY, "limit": 1, "tiers": {"pro": 100}, "tier_claim": "plan"}
    with paid(tmp_path, budgets=[budget]) as g:
        assert (await allowance(g))["limit"] == 1.0


async def test_usage_is_the_callers_own_and_needs_a_session(tmp_path: Path) -> None:
    """No session, no figures; without allowances there are none to tell."""
    with open_gateway(tmp_path) as g:
        async with g.client(None) as nobody, g.client() as alice:
            refused = await nobody.get("/api/fal/usage")
            usage = (await alice.get("/api/fal/usage")).json()

    assert refused.status_code == 401
    assert (usage["budgets"], usage["in_flight"]) == ([], [])


async def test_a_payload_without_a_price_is_a_422(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A payload without a price is refused before anything is spent, and is in no log."""
    endpoint = [{"id": ENDPOINT, "price": "number(input.prompt == 'x' ? '1' : input.prompt)"}]
    with paid(tmp_path, endpoints=endpoint) as g:
        answer = await submit(g, prompt="unpriceable words")

    assert answer["status_code"] == 422
    assert '"type": "unpriceable"' in json.dumps(answer["detail"])
    assert "unpriceable words" not in json.dumps(answer["detail"])
    assert caplog.records == []
    assert g.upstream.asked == []


async def test_a_budget_of_each_endpoint_says_which(tmp_path: Path) -> None:
    """One line an endpoint, usage apart by it; what is shared by all of them stands there once, without."""
    other = "fal-ai/hyper-sdxl"
    schema = tmp_path / "schema.json"
    schema.write_bytes((SHIPPED / f"{ENDPOINT}.json").read_bytes())
    endpoints = [*PRICED, {"id": other, "price": "1", "schema_file": str(schema)}]
    each = {"name": "each", "per": "endpoint", "window": "day", "limit": 5}
    with paid(tmp_path, endpoints=endpoints, budgets=[each, DAILY]) as g:
        await submit(g, num_images=2)
        async with g.client() as client:
            usage = (await client.get("/api/fal/usage")).json()["budgets"]

    assert [(one["name"], one.get("endpoint"), one["left"]) for one in usage] == [
        ("each", ENDPOINT, 3.0),
        ("daily", None, 1.0),
        ("each", other, 5.0),
    ]


async def test_a_run_is_over_with_its_answer(tmp_path: Path) -> None:
    """At its answer: one after the other they find the seat free, until the budget is spent."""
    with paid(tmp_path, reply({}), endpoints=[{**PRICED[0], "actions": ["run"]}], in_flight=[SLOT]) as g:
        async with g.client() as alice:
            for _ in range(3):
                assert (await alice.post(f"/api/fal/run/{ENDPOINT}", json=INPUT)).status_code == 200
            spent = await alice.post(f"/api/fal/run/{ENDPOINT}", json=INPUT)
        now = await allowance(g)

    assert spent.status_code == 402
    assert (now["used"], now["reserved"], now["jobs"]) == (3.0, 0.0, [0])


async def test_a_look_before_a_refusal_frees_the_slots_of_ended_jobs(tmp_path: Path) -> None:
    """Jobs that ended without a poll are settled by the next submit, which then passes."""
    slots = [{"name": "jobs", "per": "user", "limit": 2}]
    with paid(tmp_path, queued(1), queued(2), DONE, FAILED, queued(3), in_flight=slots) as g:
        await submit(g)
        await submit(g)
        third = await submit(g)
        now = await allowance(g)

    assert third["status_code"] == 200
    assert sum(b"/status" in request.path for request in g.upstream.asked) == 2
    assert (now["used"], now["reserved"], now["jobs"]) == (1.0, 1.0, [1])


async def test_a_refusal_says_when_to_come_again(tmp_path: Path) -> None:
    """Retry-After is the time until unfinished jobs are looked at again; until then no request is sent."""
    with paid(tmp_path, queued(1), reply({"status": "IN_PROGRESS"}, 202), in_flight=[SLOT]) as g:
        await submit(g)
        refused = [await submit(g) for _ in range(3)]

    assert {answer["status_code"] for answer in refused} == {429}
    assert {int(answer["headers"]["retry-after"]) for answer in refused} <= {4, 5}
    assert sum(b"/status" in request.path for request in g.upstream.asked) == 1


async def test_a_global_limit_refuses_without_a_look(tmp_path: Path) -> None:
    """Jobs of other callers are left to the reconciler."""
    with paid(tmp_path, queued(1), DONE, in_flight=[{**SLOT, "per": "global"}]) as g:
        await submit(g)
        refused = await submit(g, "bob")

    assert refused["status_code"] == 429
    assert len(g.upstream.asked) == 1


async def test_thresholds_are_counted_and_logged(tmp_path: Path) -> None:
    """Half of a budget, and its first refusal: once each, with the budget's name and the user's key."""
    budget = {**DAILY, "limit": 4, "thresholds": [50, 100]}
    with paid(tmp_path, queued(1), queued(2), budgets=[budget]) as g:
        for images in (1, 2, 3, 3):
            await submit(g, num_images=images)
        metrics = await g.metrics()
        g.journal.close()
        lines = [json.loads(line) for line in g.log.read_text().splitlines()]
        events = [line for line in lines if line["event"] == "budget_threshold"]

    assert [(line["budget"], line["percent"]) for line in events] == [("daily", 50), ("daily", 100)]
    assert 'fal_proxy_budget_thresholds_total{budget="daily",percent="50"} 1.0' in metrics
    assert 'fal_proxy_limit_refusals_total{kind="budget",name="daily"} 2.0' in metrics


async def test_a_lifetime_budget_never_renews(tmp_path: Path) -> None:
    """The refusal has no time of renewal, and usage lists it among the budgets."""
    with paid(tmp_path, queued(1), budgets=[{**DAILY, "window": "lifetime"}]) as g:
        await submit(g, num_images=2)
        refused = await submit(g, num_images=2)
        now = await allowance(g)

    assert refused["budget"] == {"name": "daily", "limit": 3.0, "left": 1.0, "renews_at": None}
    assert str(refused["message"]).endswith("1 of 3 left; it does not renew")
    assert (now["reserved"], now["renews_at"]) == (2.0, None)

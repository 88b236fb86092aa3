from __future__ import annotations

from pathlib import Path

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

RUN = f"/api/fal/run/{ENDPOINT}"
PRICED = {"id": ENDPOINT, "actions": ["run", "status", "result"], "run_via": "queue", "price": "2.0"}
MONEY = {"endpoints": [PRICED], "budgets": [{"name": "day", "per": "user", "window": "24h", "limit": 10}]}
RUNNING, DONE = reply({"status": "IN_PROGRESS"}, 202), reply({"status": "COMPLETED"})
PICTURE = {"images": [], "seed": 7}


async def spent(g: LocalGateway) -> tuple[float, float]:
    async with g.client() as alice:
        budget = (await alice.get("/api/fal/usage")).json()["budgets"][0]
    return budget["used"], budget["reserved"]


async def test_a_run_is_carried_over_the_queue(tmp_path: Path) -> None:
    """The answer is the model's, and its id the handle of a job that is listed and can be read again."""
    with open_gateway(tmp_path, reply(QUEUED), RUNNING, DONE, reply(PICTURE), **MONEY) as g:
        async with g.client() as alice:
            answer = await alice.post(RUN, json=INPUT)
            handle = answer.headers["x-fal-request-id"]
            again = await alice.get(f"/api/fal/queue/{APP}/requests/{handle}")
            listed = (await alice.get("/api/fal/jobs")).json()["jobs"]
        money = await spent(g)

    assert (answer.status_code, answer.json(), again.json()) == (200, PICTURE, PICTURE)
    assert handle.startswith(f"{JOB}.")
    assert [(job["request_id"], job["state"], job["price"]) for job in listed] == [(handle, "completed", 2.0)]
    assert money == (2.0, 0.0)
    assert [(asked.method, asked.path.decode()) for asked in g.upstream.asked[:4]] == [
        (b"POST", f"/{ENDPOINT}"),
        (b"GET", f"/{APP}/requests/{JOB}/status"),
        (b"GET", f"/{APP}/requests/{JOB}/status"),
        (b"GET", f"/{APP}/requests/{JOB}"),
    ]


FAILED = reply({"detail": [{"loc": ["body"], "msg": "boom", "type": "x"}]}, 500)
BROKEN = ExchangeBroken("cut", sent=True, received=True)


@pytest.mark.parametrize(
    ("script", "status", "money"),
    [
        ((reply({"detail": "no"}, 422),), 422, (0.0, 0.0)),
        ((ConnectFailed("refused"),), 503, (0.0, 0.0)),
        ((BROKEN,), 504, (0.0, 2.0)),
        ((reply(QUEUED), DONE, FAILED), 500, (0.0, 0.0)),
        ((reply(QUEUED), reply({}, 500), BROKEN, DONE, reply(PICTURE)), 200, (2.0, 0.0)),
        ((reply(QUEUED), reply({"status": "NOT_FOUND"}, 404)), 504, (0.0, 2.0)),
        ((reply(QUEUED), DONE, reply({}, 302)), 504, (0.0, 2.0)),
    ],
    ids=["refused", "not-sent", "unknown", "failed", "patient", "lost-job", "no-result"],
)
async def test_each_end_of_a_queued_run(
    tmp_path: Path, script: tuple[Step, ...], status: int, money: tuple[float, float]
) -> None:
    """As for a submit and its result; a job whose result cannot be read is named, and is paid for."""
    with open_gateway(tmp_path, *script, **MONEY) as g:
        async with g.client() as alice:
            answer = await alice.post(RUN, json=INPUT)
        assert await spent(g) == money

    assert answer.status_code == status
    has_job = status == 504 and len(script) > 1
    assert ("request_id" in answer.json()) == has_job


async def test_a_job_that_takes_too_long_is_named(tmp_path: Path) -> None:
    """The run ends with a 504 and the id of its job; the same key waits for that job again."""
    key = {"idempotency-key": "k"}
    with open_gateway(tmp_path, reply(QUEUED), RUNNING, **MONEY, fal={"run_seconds": 0.3, "submit_seconds": 0.2}) as g:
        async with g.client() as alice:
            late = await alice.post(RUN, json=INPUT, headers=key)
            g.upstream.script[:] = [DONE, reply(PICTURE)]
            again = await alice.post(RUN, json=INPUT, headers=key)

    assert (late.status_code, late.headers["x-fal-request-timeout-type"]) == (504, "user")
    assert late.json()["request_id"] == again.headers["x-fal-request-id"]
    assert (again.status_code, again.json(), again.headers["idempotent-replayed"]) == (200, PICTURE, "true")
    assert len([asked for asked in g.upstream.asked if asked.method == b"POST"]) == 1

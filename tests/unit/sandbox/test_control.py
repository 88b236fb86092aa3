from __future__ import annotations

import pytest
from support.sandbox import MODEL, QUICK, client, completed, picture_input

from proxy.sandbox.app import create_control, create_sandbox

ONE = {
    "kind": "status",
    "action": "submit",
    "count": 1,
    "probability": 1.0,
    "delay": 0.0,
    "after": False,
    "status": 502,
    "html": False,
    "location": "http://127.0.0.1:9/elsewhere",
    "headers": {},
    "key": None,
}


async def test_faults_are_replaced_counted_down_and_cleared() -> None:
    """PUT replaces the list and returns it, GET returns the remaining counts, DELETE clears it."""
    sandbox = create_sandbox(QUICK)
    control, queue = client(create_control(sandbox), {}), client(sandbox.queue)

    put = await control.put("/faults", json=[{"kind": "status", "action": "submit", "count": 1, "status": 502}])
    assert (put.status_code, put.json()) == (200, [ONE])
    assert [(await queue.post("/acme/echo", json={})).status_code for _ in range(2)] == [502, 200]
    assert (await control.get("/faults")).json() == []

    await control.put("/faults", json=[{"kind": "hang"}])
    assert (await control.delete("/faults")).json() == []
    assert (await queue.post("/acme/echo", json={})).status_code == 200


@pytest.mark.parametrize("body", [b"{}", b"[{}]", b'[{"kind":"explode"}]', b"no", b'[{"kind":"hang","after":1,"x":1}]'])
async def test_an_invalid_fault_changes_nothing(body: bytes) -> None:
    """An invalid fault is 422 with the location of each error, and the active faults stay."""
    control = client(create_control(create_sandbox(QUICK)), {})
    await control.put("/faults", json=[{"kind": "hang"}])

    refused = await control.put("/faults", content=body)

    assert (refused.status_code, "loc" in refused.json()[0]) == (422, True)
    assert [fault["kind"] for fault in (await control.get("/faults")).json()] == ["hang"]


async def test_counts_and_log_are_returned_and_reset() -> None:
    """Counts and requests are returned as JSON; a reset removes them, jobs, files and faults."""
    sandbox = create_sandbox(QUICK)
    control, queue, rest = client(create_control(sandbox), {}), client(sandbox.queue), client(sandbox.rest, {})
    job = await queue.post(f"/{MODEL}", json=picture_input())
    await completed(queue, job)
    file = (await queue.get(job.json()["response_url"])).json()["images"][0]["url"]

    counts = (await control.get("/counts")).json()
    assert counts["submits"] == {"total": 1, "by_endpoint": {MODEL: 1}}
    assert counts["billable_units"] == 0.0008
    entry = (await control.get("/journal")).json()[0]
    assert entry.keys() == {
        "at",
        "surface",
        "method",
        "path",
        "query",
        "headers",
        "body_sha256",
        "body_length",
        "key_id",
    }
    assert ["authorization", "accepted"] in entry["headers"]

    await control.put("/faults", json=[{"kind": "hang", "action": "jwks"}])
    assert (await control.post("/reset")).status_code == 204
    assert [(await control.get(path)).json() for path in ("/journal", "/faults")] == [[], []]
    assert (await control.get("/counts")).json()["submits"] == {"total": 0, "by_endpoint": {}}
    assert (await queue.get(job.json()["status_url"])).status_code == 404
    assert (await rest.get(file)).status_code == 404

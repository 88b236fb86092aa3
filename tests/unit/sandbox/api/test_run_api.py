from __future__ import annotations

import asyncio
import dataclasses
import json

import httpx2
import pytest
from support.sandbox import KEY, MODEL, QUICK, client, picture_input, running, until

from proxy.sandbox.app import create_sandbox
from proxy.sandbox.faults import Fault, Kind
from proxy.sandbox.settings import SandboxSettings


def data(answer: httpx2.Response) -> list[object]:
    return [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: ")]


async def test_a_run_answers_with_the_output() -> None:
    """A direct call returns body, units and id, and is counted and billed as a run."""
    sandbox = create_sandbox(QUICK)

    answer = await client(sandbox.run).post(f"/{MODEL}", json=picture_input(image_size="square"))

    assert (answer.status_code, answer.headers["x-fal-billable-units"]) == (200, "0.25")
    assert answer.json()["images"][0]["width"] == 512
    assert len(answer.headers["x-fal-request-id"]) == 36
    counts = sandbox.control.request_log.counts()
    assert (counts["runs"], counts["billable_units"]) == ({"total": 1, "by_endpoint": {MODEL: 1}}, 0.25)


async def test_a_run_lasts_the_run_time() -> None:
    """The answer comes after the run time."""
    http = client(create_sandbox(SandboxSettings(run_seconds=0.15)).run)
    start = asyncio.get_running_loop().time()

    await http.post("/acme/echo", json={})

    assert asyncio.get_running_loop().time() - start >= 0.15


@pytest.mark.parametrize("end", ["", "/stream"])
async def test_an_invalid_input_takes_no_slot(end: str) -> None:
    """An invalid input is 422 at once, for a call and a stream, and nothing is counted."""
    sandbox = create_sandbox(QUICK)

    answer = await client(sandbox.run).post(f"/{MODEL}{end}", json={"prompt": "x"})

    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "image_url"])
    assert sandbox.control.request_log.counts()["runs"] == {"total": 0, "by_endpoint": {}}


async def test_a_failing_run_answers_with_the_models_error() -> None:
    """An error that shows while the model runs becomes the status and body of the call."""
    http = client(create_sandbox(QUICK).run)

    answer = await http.post(f"/{MODEL}", json=picture_input(image_url="https://fal.media/x.png"))

    assert (answer.status_code, answer.json()["detail"][0]["type"]) == (422, "file_download_error")


async def test_a_run_without_a_free_slot_is_refused() -> None:
    """Without a free slot a call is 429 and marked for a retry; a freed slot serves again."""
    sandbox = create_sandbox(SandboxSettings(queue_seconds=0, run_seconds=0, concurrency=1))
    sandbox.control.faults.replace([Fault(Kind.HANG, "model", count=1)])
    queue, run = client(sandbox.queue), client(sandbox.run)
    job = await queue.post("/acme/echo", json={})

    refused = await run.post("/acme/echo", json={})
    await queue.put(job.json()["cancel_url"])

    assert (refused.status_code, refused.json()["error_type"]) == (429, "concurrent_requests_limit")
    assert refused.headers["x-fal-needs-retry"] == "1"
    assert (await run.post("/acme/echo", json={})).status_code == 200


async def test_a_stream_sends_the_log_and_then_the_output() -> None:
    """Every event is JSON, and the last one is the output."""
    http = client(create_sandbox(SandboxSettings(run_seconds=0.1)).run)

    answer = await http.post(f"/{MODEL}/stream", json=picture_input(num_inference_steps=2, seed=3))

    *lines, output = data(answer)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert [line["message"] for line in lines] == [  # type: ignore[index]
        "Reading the input picture",
        "Step 1 of 2",
        "Step 2 of 2",
        "Encoding",
    ]
    assert output["seed"] == 3  # type: ignore[index]


async def test_a_stream_that_fails_ends_with_the_error() -> None:
    """The last event is the error's body, after its line of the log."""
    http = client(create_sandbox(SandboxSettings(run_seconds=0.1)).run)

    received = data(await http.post(f"/{MODEL}/stream", json=picture_input(image_url="https://fal.media/x.png")))

    assert received[-2] == {"message": "Invalid status code: 422"}
    assert received[-1]["detail"][0]["type"] == "file_download_error"  # type: ignore[index]


async def test_a_quiet_stream_is_kept_open_and_closed_at_the_end() -> None:
    """A comment keeps a quiet stream open; the sandbox's end ends it and refuses a waiting call."""
    settings = dataclasses.replace(QUICK, heartbeat=0.02, faults=(Fault(Kind.HANG, "model"),))
    async with running(settings) as rig, httpx2.AsyncClient(headers=KEY) as http:
        call = asyncio.ensure_future(http.post(f"{rig.run}/acme/echo", json={}))
        async with http.stream("POST", f"{rig.run}/acme/echo/stream", json={}) as stream:
            lines = stream.aiter_lines()
            while await anext(lines) != ": ping":
                pass
            await rig.sandbox.close()
            assert [line async for line in lines if line.startswith("data")] == []
        assert (await call).status_code == 503


@pytest.mark.parametrize(("apps", "status"), [(["echo"], 200), (["other"], 401)])
async def test_a_minted_token_is_a_credential(apps: list[str], status: int) -> None:
    """The query field `fal_jwt_token` replaces a key for the apps of the token."""
    sandbox = create_sandbox(QUICK)
    token = (await client(sandbox.rest).post("/tokens/", json={"allowed_apps": apps})).json()

    answer = await client(sandbox.run, {}).post("/acme/echo/stream", params={"fal_jwt_token": token}, json={})

    assert answer.status_code == status


@pytest.mark.parametrize(("path", "status"), [("/acme", 404), ("/acme/other", 404), ("/acme/echo", 401)])
async def test_a_run_requires_a_known_model_and_a_key(path: str, status: int) -> None:
    """An unknown id is 404 in fal's words, a missing key 401."""
    sandbox = create_sandbox(dataclasses.replace(QUICK, models=frozenset({"acme/echo"})))

    answer = await client(sandbox.run, KEY if status == 404 else {}).post(path, json={})

    assert answer.status_code == status


async def test_a_reset_ends_a_waiting_call() -> None:
    """A reset answers a waiting call as cancelled."""
    sandbox = create_sandbox(dataclasses.replace(QUICK, faults=(Fault(Kind.HANG, "model"),)))
    call = asyncio.ensure_future(client(sandbox.run).post("/acme/echo", json={}))
    await until(lambda: sandbox.control.request_log.counts()["runs"] == {"total": 1, "by_endpoint": {"acme/echo": 1}})

    sandbox.control.clear_state()

    assert (await call).status_code == 499

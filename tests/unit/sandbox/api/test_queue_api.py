from __future__ import annotations

import asyncio
import dataclasses
import json
import re
from datetime import datetime

import httpx2
import pytest
from support.sandbox import KEY, MODEL, QUICK, Clock, client, completed, picture_input, png, running, until

from proxy.sandbox.app import create_sandbox
from proxy.sandbox.faults import Fault, Kind
from proxy.sandbox.settings import SandboxSettings

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class ClockedSandbox:
    """Sandbox with a clock that only the test moves: 10 s in the queue, 100 s a run, one slot."""

    def __init__(self, **settings: object) -> None:
        self.clock = Clock()
        self.sandbox = create_sandbox(
            dataclasses.replace(
                SandboxSettings(queue_seconds=10, run_seconds=100, concurrency=1, clock=self.clock),
                **settings,  # type: ignore[arg-type]
            )
        )
        self.http = client(self.sandbox.queue)

    async def submit(self, endpoint: str = "acme/echo", **request: object) -> httpx2.Response:
        return await self.http.post(f"/{endpoint}", **({"json": {"a": 1}} | request))  # type: ignore[arg-type]

    async def run_job(self, job: httpx2.Response) -> None:
        """Moves the clock over the queue time and the run time, and waits for the model."""
        self.clock.forward(10)
        await self.http.get(job.json()["status_url"])
        self.clock.forward(100)
        await completed(self.http, job)


async def test_a_submit_returns_the_id_and_its_urls() -> None:
    """A submit returns the id in body and header, three URLs under owner/alias, and the position."""
    answer = await ClockedSandbox(queue_origin="http://sandbox.test").submit("acme/echo/variant")

    body = answer.json()
    job = f"http://sandbox.test/acme/echo/requests/{body['request_id']}"
    assert answer.status_code == 200
    assert UUID.fullmatch(body["request_id"])
    assert body == {
        "status": "IN_QUEUE",
        "request_id": body["request_id"],
        "response_url": job,
        "status_url": f"{job}/status",
        "cancel_url": f"{job}/cancel",
        "queue_position": 0,
    }
    assert (answer.headers["x-fal-request-id"], answer.headers["x-sandbox"]) == (body["request_id"], "1")


async def test_status_follows_the_job() -> None:
    """Status is 202 with a position, then 202 without one, then 200 with metrics; `logs` stays null."""
    rig = ClockedSandbox()
    job = await rig.submit()
    url = job.json()["status_url"]

    waiting = await rig.http.get(url)
    assert (waiting.status_code, waiting.json()["status"], waiting.json()["queue_position"]) == (202, "IN_QUEUE", 0)
    rig.clock.forward(10)
    progress = await rig.http.get(url)
    assert (progress.status_code, progress.json()["status"]) == (202, "IN_PROGRESS")
    assert ("queue_position" in progress.json(), progress.json()["metrics"]) == (False, {})
    rig.clock.forward(100)
    await completed(rig.http, job)
    done = await rig.http.get(url)
    assert (done.status_code, done.json()["status"]) == (200, "COMPLETED")
    assert done.json()["metrics"] == {"inference_time": 100.0}
    assert "error" not in done.json()
    assert [answer.json()["logs"] for answer in (waiting, progress, done)] == [None, None, None]


@pytest.mark.parametrize(("logs", "shown"), [("1", True), ("true", True), ("0", False), ("false", False)])
async def test_logs_are_returned_on_request(logs: str, *, shown: bool) -> None:
    """Entries are returned for `logs=1` and `logs=true`, with every field that a client reads."""
    rig = ClockedSandbox()
    job = await rig.submit()
    await rig.run_job(job)

    entries = (await rig.http.get(job.json()["status_url"], params={"logs": logs})).json()["logs"]

    if not shown:
        assert entries is None
        return
    (entry,) = entries
    assert datetime.fromisoformat(entry.pop("timestamp")).timestamp() == rig.clock() - 100
    assert entry == {
        "message": "Echoing for acme/echo",
        "level": "INFO",
        "source": "USER",
        "labels": {"level": "INFO", "source": "USER"},
    }


async def test_the_result_is_the_models_own_answer() -> None:
    """The result has the body, units and id of the model, at every spelling of its URL."""
    rig = ClockedSandbox()
    job = await rig.submit("acme/echo/variant", json={"seed": 2**60})
    await rig.run_job(job)
    request_id = job.json()["request_id"]

    for path in ("acme/echo", "acme/echo/variant"):
        for end in ("", "/response", "/", "/response/"):
            result = await rig.http.get(f"/{path}/requests/{request_id}{end}")
            assert result.json() == {"endpoint": "acme/echo/variant", "input": {"seed": 2**60}}
            assert result.status_code == 200
            assert (result.headers["x-fal-billable-units"], result.headers["x-fal-request-id"]) == ("1", request_id)


async def test_a_result_before_the_end_is_refused() -> None:
    """A waiting or running job's result is 400 in fal's words."""
    rig = ClockedSandbox()
    job = await rig.submit()

    for seconds in (0, 10):
        rig.clock.forward(seconds)
        early = await rig.http.get(job.json()["response_url"])
        assert (early.status_code, early.json()["detail"]) == (400, "Request is still in progress")


async def test_a_result_expires_after_an_hour() -> None:
    """After its retention a job gets the 404 of an unknown one."""
    rig = ClockedSandbox()
    job = await rig.submit()
    await rig.run_job(job)

    rig.clock.forward(3599)
    assert (await rig.http.get(job.json()["response_url"])).status_code == 200
    rig.clock.forward(1)
    wait_disconnect = await rig.http.get(job.json()["response_url"])
    assert (wait_disconnect.status_code, wait_disconnect.json()) == (404, {"status": "NOT_FOUND"})


@pytest.mark.parametrize("end", ["", "/response", "/status", "/status/stream", "/cancel"])
@pytest.mark.parametrize("kind", ["foreign key", "other app", "made up"])
async def test_a_foreign_job_is_not_found(end: str, kind: str) -> None:
    """Another account's job, another app's and an unknown one get the same 404 in every action."""
    rig = ClockedSandbox()
    job = (await rig.submit()).json()["request_id"]
    path = {
        "foreign key": f"/acme/echo/requests/{job}",
        "other app": f"/acme/other/requests/{job}",
        "made up": "/acme/echo/requests/00000000-0000-4000-8000-000000000000",
    }[kind]
    headers = {"authorization": "Key mallory:x"} if kind == "foreign key" else KEY

    answer = await rig.http.request("PUT" if end == "/cancel" else "GET", path + end, headers=headers)

    assert (answer.status_code, answer.content) == (404, b'{"status":"NOT_FOUND"}')


async def test_a_malformed_job_id_reaches_no_header() -> None:
    """Line breaks in the id of the path reach no header."""
    rig = ClockedSandbox()

    answer = await rig.http.get("/acme/echo/requests/a%0d%0aset-cookie:%20x/status")

    assert answer.status_code == 404
    assert UUID.fullmatch(answer.headers["x-fal-request-id"])


async def test_cancel_in_every_state() -> None:
    """A cancel is 200 in the queue, 202 while running, 400 afterwards; the job is not billed."""
    rig = ClockedSandbox()
    first, second, third = [await rig.submit() for _ in range(3)]

    queued = await rig.http.put(second.json()["cancel_url"])
    assert (queued.status_code, queued.json()) == (200, {"status": "OK"})
    rig.clock.forward(10)
    await rig.http.get(first.json()["status_url"])
    underway = await rig.http.put(first.json()["cancel_url"])
    assert (underway.status_code, underway.json()) == (202, {"status": "CANCELLATION_REQUESTED"})
    for job in (first, second):
        again = await rig.http.put(job.json()["cancel_url"])
        assert (again.status_code, again.json()) == (400, {"status": "ALREADY_COMPLETED"})
        status = await rig.http.get(job.json()["status_url"])
        assert (status.status_code, status.json()["error_type"]) == (200, "client_cancelled")
        assert (await rig.http.get(job.json()["response_url"])).status_code == 499
    assert (await rig.http.get(third.json()["status_url"])).json()["status"] == "IN_PROGRESS"
    assert rig.sandbox.control.request_log.counts()["cancels"] == 2


async def test_a_failed_job_is_completed_with_its_error() -> None:
    """The submit is accepted, the status is COMPLETED with error and type, the result is an unbilled 422."""
    sandbox = create_sandbox(QUICK)
    http = client(sandbox.queue)
    job = await http.post(f"/{MODEL}", json={"prompt": "x"})
    assert job.status_code == 200

    status = await completed(http, job)
    result = await http.get(job.json()["response_url"])

    assert (status.json()["status"], status.json()["error_type"]) == ("COMPLETED", "missing")
    assert status.json()["error"] == "Invalid status code: 422"
    assert status.json()["logs"][-1]["level"] == "ERROR"
    assert (result.status_code, result.json()["detail"][0]["loc"]) == (422, ["body", "image_url"])
    assert "x-fal-billable-units" not in result.headers
    assert sandbox.control.request_log.counts()["billable_units"] == 0


async def test_an_image_is_transformed_through_the_queue() -> None:
    """The image model returns a file of the size in the input, with other bytes than the input."""
    sandbox = create_sandbox(QUICK)
    http, rest = client(sandbox.queue), client(sandbox.rest, {})
    job = await http.post(f"/{MODEL}", json=picture_input(image_size="square"))
    await completed(http, job)

    result = await http.get(job.json()["response_url"])
    file = await rest.get(result.json()["images"][0]["url"])

    assert (file.status_code, file.headers["content-type"]) == (200, "image/jpeg")
    assert file.headers["access-control-allow-origin"] == "*"
    assert file.content != png()
    assert result.headers["x-fal-billable-units"] == "0.25"


@pytest.mark.parametrize("path", ["/acme", "/acme/echo/requests/x/y", "/acme/echo/requests", "/workflows/acme"])
async def test_a_malformed_endpoint_is_not_found(path: str) -> None:
    """A POST to a malformed id is answered as an unknown application."""
    answer = await ClockedSandbox().http.post(path, json={})

    assert (answer.status_code, answer.json()["detail"]) == (404, f'Application "{path[1:]}" not found')


async def test_a_namespace_is_part_of_the_app() -> None:
    """The id `workflows/owner/name` keeps its three segments in the URLs of the job."""
    rig = ClockedSandbox()
    url = (await rig.submit("workflows/acme/poster")).json()["status_url"]

    assert "/workflows/acme/poster/requests/" in url
    assert (await rig.http.get(url)).status_code == 202


async def test_an_unlisted_model_is_not_found() -> None:
    """With models listed, other ids are unknown applications and no job is made."""
    rig = ClockedSandbox(models=frozenset({"acme/listed"}))

    assert [(await rig.submit(name)).status_code for name in ("acme/listed", "acme/other")] == [200, 404]
    assert rig.sandbox.control.request_log.counts()["submits"] == {"total": 1, "by_endpoint": {"acme/listed": 1}}


@pytest.mark.parametrize("method", ["POST", "GET", "PUT"])
async def test_every_action_requires_a_key(method: str) -> None:
    """Every action without a valid key is 401 in fal's words, and nothing is accepted."""
    rig = ClockedSandbox(keys=frozenset({"alice:secret"}))
    path = {"POST": "/acme/echo", "GET": "/acme/echo/requests/x", "PUT": "/acme/echo/requests/x/cancel"}[method]

    answer = await rig.http.request(method, path, headers={"authorization": "Key alice:wrong"})

    assert (answer.status_code, answer.json()) == (401, {"detail": "No user found for Key ID and Secret"})
    assert rig.sandbox.control.request_log.counts()["submits"] == {"total": 0, "by_endpoint": {}}


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 100_000], ids=["cut", "bytes", "deep"])
async def test_a_malformed_body_is_refused(body: bytes) -> None:
    """A malformed body is 422 json_invalid, and no job is made."""
    rig = ClockedSandbox()
    answer = await rig.submit(content=body, json=None)

    assert (answer.status_code, answer.json()["detail"][0]["type"]) == (422, "json_invalid")


async def test_an_empty_body_is_an_empty_input() -> None:
    """An empty body counts as `{}`, which clients send for a call without input."""
    rig = ClockedSandbox()
    job = await rig.submit(json=None)
    await rig.run_job(job)

    assert (await rig.http.get(job.json()["response_url"])).json()["input"] == {}


async def test_a_queue_length_can_be_limited() -> None:
    """A submit with `fal_max_queue_length` is 429 once more jobs than that wait for the endpoint."""
    rig = ClockedSandbox()
    for _ in range(2):
        await rig.submit()

    assert (await rig.submit(params={"fal_max_queue_length": "2"})).status_code == 200
    full = await rig.submit(params={"fal_max_queue_length": "2"})
    assert (full.status_code, full.headers["x-fal-needs-retry"]) == (429, "1")
    assert (await rig.submit("acme/other", params={"fal_max_queue_length": "2"})).status_code == 200


@pytest.mark.parametrize("name", ["x-fal-request-start-timeout", "x-fal-request-timeout"])
async def test_a_job_not_started_in_time_ends_as_504(name: str) -> None:
    """The result is a 504 whose header marks the deadline as the caller's."""
    rig = ClockedSandbox()
    job = await rig.submit(headers={name: "2.5"})
    rig.clock.forward(2.5)

    status = await rig.http.get(job.json()["status_url"])
    result = await rig.http.get(job.json()["response_url"])

    assert (status.json()["status"], status.json()["error_type"]) == ("COMPLETED", "startup_timeout")
    assert status.json()["metrics"] == {}
    assert (result.status_code, result.headers["x-fal-request-timeout-type"]) == (504, "user")


async def test_the_newer_timeout_header_wins() -> None:
    """The header `x-fal-request-start-timeout` wins over the deprecated name."""
    rig = ClockedSandbox()
    job = await rig.submit(headers={"x-fal-request-timeout": "1", "x-fal-request-start-timeout": "5"})
    rig.clock.forward(4)

    assert (await rig.http.get(job.json()["status_url"])).json()["status"] == "IN_QUEUE"


@pytest.mark.parametrize("value", ["soon", "0", "-1", "inf", "nan"])
async def test_a_malformed_timeout_is_refused(value: str) -> None:
    """A timeout that is no positive number is 400, and no job is made."""
    rig = ClockedSandbox()

    assert (await rig.submit(headers={"x-fal-request-timeout": value})).status_code == 400
    assert rig.sandbox.control.request_log.counts()["submits"] == {"total": 0, "by_endpoint": {}}


async def test_low_priority_waits_behind_normal() -> None:
    """A low-priority job is positioned after every normal one."""
    rig = ClockedSandbox()
    low = await rig.submit(headers={"x-fal-queue-priority": "low"})
    await rig.submit(headers={"x-fal-queue-priority": "normal"})

    assert (await rig.http.get(low.json()["status_url"])).json()["queue_position"] == 1


async def test_a_webhook_outside_loopback_is_refused() -> None:
    """A webhook URL outside loopback is 400, and no job is made."""
    rig = ClockedSandbox()

    answer = await rig.submit(params={"fal_webhook": "https://example.com/hook"})

    assert answer.status_code == 400
    assert rig.sandbox.control.request_log.counts()["submits"] == {"total": 0, "by_endpoint": {}}


def events(body: str) -> list[dict[str, object]]:
    return [json.loads(line.removeprefix("data: ")) for line in body.splitlines() if line.startswith("data: ")]


@pytest.mark.parametrize(("logs", "total"), [("1", 6), ("0", None)])
async def test_a_status_stream_sends_each_change_once(logs: str, total: int | None) -> None:
    """Events are status objects with the new log entries; COMPLETED ends the stream."""
    sandbox = create_sandbox(SandboxSettings(queue_seconds=0.05, run_seconds=0.2))
    http = client(sandbox.queue)
    job = await http.post(f"/{MODEL}", json=picture_input(num_inference_steps=4))

    stream = await http.get(f"{job.json()['status_url']}/stream", params={"logs": logs})

    received = events(stream.text)
    assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert stream.headers["x-fal-request-id"] == job.json()["request_id"]
    states = [event["status"] for event in received]
    assert sorted(set(states), key=states.index) == ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]
    entries = [event["logs"] for event in received]
    if total is None:
        assert (len(received), entries) == (3, [None] * 3)
    else:
        messages = [entry["message"] for new in entries for entry in new]  # type: ignore[attr-defined]
        assert (len(messages), len(set(messages))) == (total, total)


async def test_a_quiet_stream_is_kept_open() -> None:
    """A comment is sent while nothing changes; the sandbox's end ends the stream."""
    settings = SandboxSettings(queue_seconds=60, heartbeat=0.02)
    async with running(settings) as rig, httpx2.AsyncClient(headers=KEY) as http:
        job = await http.post(f"{rig.queue}/acme/echo", json={})
        async with http.stream("GET", f"{job.json()['status_url']}/stream") as stream:
            lines = stream.aiter_lines()
            while await anext(lines) != ": ping":
                pass
            await rig.sandbox.close()
            assert [line async for line in lines if line.startswith("data")] == []


async def test_a_stream_reports_the_position_at_once_and_after_moves() -> None:
    """A waiting job's stream sends its position at once, and again when jobs ahead have left."""
    async with running(SandboxSettings(queue_seconds=60)) as rig, httpx2.AsyncClient(headers=KEY) as http:
        ahead = await http.post(f"{rig.queue}/acme/echo", json={})
        job = await http.post(f"{rig.queue}/acme/echo", json={})
        async with http.stream("GET", f"{job.json()['status_url']}/stream") as stream:
            lines = stream.aiter_lines()
            assert json.loads((await anext(lines)).removeprefix("data: "))["queue_position"] == 1
            await http.put(ahead.json()["cancel_url"])
            assert await anext(lines) == ""
            assert json.loads((await anext(lines)).removeprefix("data: "))["queue_position"] == 0


async def test_a_model_fault_fails_the_job_not_the_call() -> None:
    """With a `model` fault the submit is accepted; the job fails, is slow, or hangs until a cancel."""
    sandbox = create_sandbox(QUICK)
    http = client(sandbox.queue)
    sandbox.control.faults.replace(
        [
            Fault(Kind.STATUS, "model", count=1, status=500),
            Fault(Kind.LATENCY, "model", count=1),
            Fault(Kind.HANG, "model"),
        ]
    )

    failed = await completed(http, await http.post("/acme/echo", json={}))
    slow = await completed(http, await http.post("/acme/echo", json={}))
    hung = await http.post("/acme/echo", json={})

    assert (failed.json()["error"], failed.json()["error_type"]) == ("Internal Server Error", "runner_server_error")
    assert "error" not in slow.json()
    assert (await http.get(hung.json()["status_url"])).json()["status"] == "IN_PROGRESS"
    assert (await http.put(hung.json()["cancel_url"])).status_code == 202
    assert (await http.get(hung.json()["response_url"])).status_code == 499


async def test_a_position_counts_the_jobs_of_all_accounts() -> None:
    """All keys share one queue."""
    rig = ClockedSandbox()
    await rig.submit()
    other = await rig.submit(headers={"authorization": "Key bob:x"})

    status = await rig.http.get(other.json()["status_url"], headers={"authorization": "Key bob:x"})

    assert status.json()["queue_position"] == 1


async def test_a_reset_ends_the_streams() -> None:
    """A reset ends open streams with the job as cancelled."""
    async with running(SandboxSettings(queue_seconds=60)) as rig, httpx2.AsyncClient(headers=KEY) as http:
        job = await http.post(f"{rig.queue}/acme/echo", json={})
        watching = asyncio.ensure_future(http.get(f"{job.json()['status_url']}/stream"))
        await until(lambda: len(rig.sandbox.control.request_log.entries) == 2)
        assert (await http.post(f"{rig.control}/reset")).status_code == 204

        assert events((await watching).text)[-1]["error_type"] == "client_cancelled"
        assert (await http.get(job.json()["status_url"])).status_code == 404
        assert rig.sandbox.control.request_log.counts()["submits"] == {"total": 0, "by_endpoint": {}}

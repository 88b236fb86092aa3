from __future__ import annotations

import asyncio
import logging

import pytest
from support.sandbox import QUICK, Clock, client, completed, until

from proxy.sandbox.app import create_sandbox
from proxy.sandbox.faults import Fault, FaultSet, Kind
from proxy.sandbox.jobs import Job, Queue, QueueSettings
from proxy.sandbox.models.output import Output
from proxy.sandbox.models.registry import Echo, ModelRegistry, error_outcome
from proxy.sandbox.settings import SandboxSettings
from proxy.sandbox.worker import CANCELLED, Worker


async def test_the_timer_moves_the_queue() -> None:
    """A job runs to its end and is billed without any request for it."""
    sandbox = create_sandbox(SandboxSettings(queue_seconds=0.02, run_seconds=0.02))

    await client(sandbox.queue).post("/acme/echo", json={})

    await until(lambda: sandbox.control.request_log.counts()["billable_units"] == 1.0)


async def test_an_exception_in_a_model_ends_its_job(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected exception becomes a 500 of the job, is logged, and frees the slot."""

    async def broken(self: Echo, payload: object) -> Output:
        raise ZeroDivisionError

    monkeypatch.setattr(Echo, "run", broken)
    http = client(create_sandbox(QUICK).queue)

    with caplog.at_level(logging.ERROR):
        statuses = [await completed(http, await http.post("/acme/echo", json={})) for _ in range(3)]

    assert {status.json()["error_type"] for status in statuses} == {"runner_server_error"}
    assert caplog.text.count("the task of acme/echo failed") == 3


async def test_close_ends_every_task_and_can_be_repeated() -> None:
    """After a close no task of the sandbox is left, and no new one starts."""
    before = asyncio.all_tasks()
    sandbox = create_sandbox(
        SandboxSettings(queue_seconds=0, run_seconds=30, concurrency=1, faults=(Fault(Kind.HANG, "model"),))
    )
    http = client(sandbox.queue)
    running, waiting = [await http.post("/acme/echo", json={}) for _ in range(2)]
    assert len(asyncio.all_tasks() - before) == 1

    await sandbox.close()
    await sandbox.close()

    assert asyncio.all_tasks() == before
    assert (await http.put(running.json()["cancel_url"])).status_code == 202
    assert (await http.get(waiting.json()["status_url"])).json()["status"] == "IN_QUEUE"


async def test_a_job_can_be_cancelled_after_its_work() -> None:
    """Work that ended before the run time can still be cancelled, and nothing is billed."""
    sandbox = create_sandbox(SandboxSettings(queue_seconds=0, run_seconds=30))
    http = client(sandbox.queue)
    before = asyncio.all_tasks()
    job = await http.post("/acme/echo", json={})
    await until(lambda: asyncio.all_tasks() == before)

    assert (await http.put(job.json()["cancel_url"])).status_code == 202
    assert (await http.get(job.json()["response_url"])).status_code == 499
    assert sandbox.control.request_log.counts()["billable_units"] == 0


async def test_a_clear_ends_every_task() -> None:
    """After a clear no task of the sandbox is left."""
    before = asyncio.all_tasks()
    sandbox = create_sandbox(SandboxSettings(queue_seconds=0, faults=(Fault(Kind.HANG, "model"),)))
    await client(sandbox.queue).post("/acme/echo", json={})

    sandbox.control.clear_state()

    await until(lambda: asyncio.all_tasks() == before)


async def test_an_earlier_change_is_not_missed() -> None:
    """A wait since an older version returns at once; one since the present version only after its time."""
    clock = Clock()
    settings = QueueSettings(queue_seconds=0, run_seconds=0, slots=1, retention=1, large_retention=1)
    queue = Queue(settings, timed_out=error_outcome(CANCELLED), clock=clock)
    models = ModelRegistry({}, echoes=None)
    worker = Worker(
        queue, models, FaultSet([], seed=0), run_seconds=0, closing=asyncio.Event(), clock=clock, on_end=lambda _: None
    )
    before = worker.version
    queue.submit(Job("1", "alice", "a/b", "a/b", {}, submitted=clock()))
    worker.advance()

    assert await worker.wait_for_change(before, 60)
    assert not await worker.wait_for_change(worker.version, 0)
    await worker.close()

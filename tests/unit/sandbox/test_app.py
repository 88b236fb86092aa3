from __future__ import annotations

import asyncio
import time

import httpx2
import pytest
from support.sandbox import KEY, QUICK, bound, client, origin, served

from proxy.sandbox.app import BANNER, create_sandbox
from proxy.sandbox.faults import Fault, Kind
from proxy.sandbox.settings import SandboxSettings, unix_clock


async def test_the_queues_lifespan_ends_the_sandbox() -> None:
    """When its server stops, jobs are ended without anyone calling `close`."""
    before = asyncio.all_tasks()
    sandbox = create_sandbox(SandboxSettings(queue_seconds=0, faults=(Fault(Kind.HANG, "model"),)))
    (listener,) = bound()
    async with served({listener: sandbox.queue}), httpx2.AsyncClient(headers=KEY) as http:
        await http.post(f"{origin(listener)}/acme/echo", json={})
        assert [task for task in asyncio.all_tasks() - before if "Worker._run" in repr(task)]

    assert asyncio.all_tasks() == before


async def test_a_page_elsewhere_may_call() -> None:
    """fal answers browsers directly: any origin, and the headers its clients read are exposed."""
    sandbox = create_sandbox(QUICK)

    answer = await client(sandbox.queue).post("/acme/echo", json={}, headers={"origin": "https://app.test"})

    assert answer.headers["access-control-allow-origin"] == "*"
    assert "x-fal-request-id" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/acme/echo", 405), ("DELETE", "/acme/echo", 405), ("POST", "/acme/echo/requests/x/status", 404)],
)
async def test_another_method_is_refused(method: str, path: str, status: int) -> None:
    """405, and a POST under a job is no endpoint."""
    assert (await client(create_sandbox(QUICK).queue).request(method, path)).status_code == status


def test_the_banner_says_what_it_is_not() -> None:
    """Nobody reads it and believes a model ran."""
    assert "not fal.ai" in BANNER


def test_the_clock_is_unix_time_that_never_steps_back() -> None:
    """Within a second of the wall clock, and monotonic."""
    seen = [unix_clock() for _ in range(1000)]

    assert seen == sorted(seen)
    assert abs(seen[0] - time.time()) < 1

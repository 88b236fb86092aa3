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
    """Jobs end when the queue's server stops, without a call of `close`."""
    before = asyncio.all_tasks()
    sandbox = create_sandbox(SandboxSettings(queue_seconds=0, faults=(Fault(Kind.HANG, "model"),)))
    (listener,) = bound()
    async with served({listener: sandbox.queue}), httpx2.AsyncClient(headers=KEY) as http:
        await http.post(f"{origin(listener)}/acme/echo", json={})
        assert [task for task in asyncio.all_tasks() - before if "Worker._run" in repr(task)]

    assert asyncio.all_tasks() == before


async def test_pages_of_any_origin_may_call() -> None:
    """Every origin is allowed, and the headers that clients read are exposed, as fal does."""
    sandbox = create_sandbox(QUICK)

    answer = await client(sandbox.queue).post("/acme/echo", json={}, headers={"origin": "https://app.test"})

    assert answer.headers["access-control-allow-origin"] == "*"
    assert "x-fal-request-id" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/acme/echo", 405), ("DELETE", "/acme/echo", 405), ("POST", "/acme/echo/requests/x/status", 404)],
)
async def test_another_method_is_refused(method: str, path: str, status: int) -> None:
    """An unknown method is 405, and a POST below a job is 404."""
    assert (await client(create_sandbox(QUICK).queue).request(method, path)).status_code == status


def test_the_banner_names_the_sandbox() -> None:
    """The banner states that this is not fal.ai."""
    assert "not fal.ai" in BANNER


def test_the_clock_is_unix_time_that_never_steps_back() -> None:
    """The clock is within a second of the wall clock and monotonic."""
    seen = [unix_clock() for _ in range(1000)]

    assert seen == sorted(seen)
    assert abs(seen[0] - time.time()) < 1

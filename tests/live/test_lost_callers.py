"""Repeats after a lost connection: one job and one charge a click, also behind an impatient front."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from support import front_proxies
from support.budgets import Valkey
from support.gateway_process import JSON, PATIENCE, QUICK, Gateway, Rig, bearer, javascript, message, until
from support.in_process_gateway import ENDPOINT, ENVIRON, INPUT
from support.raw_http import replies
from support.sandbox import data_uri, png

from proxy.demo.demo import SandboxAddresses
from proxy.sandbox.faults import Fault, Kind

SUBMIT, RUN = f"/api/fal/queue/{ENDPOINT}".encode(), f"/api/fal/run/{ENDPOINT}".encode()
CLICK = {**INPUT, "image_url": data_uri(png())}
BACK_OFF = 0.2  # seconds before a repeat; the shortest of the stock clients waits 0.5 on average
SLOW = 0.6  # seconds that fal takes for a submit here
FrontProxy = Callable[..., AbstractContextManager[tuple[str, int]]]
MONEY: dict[str, Any] = {
    "endpoints": [{"id": ENDPOINT, "actions": ["submit", "status", "result", "run"], "price": "1.0"}],
    "budgets": [{"name": "day", "per": "user", "window": "24h", "limit": 100}],
    "in_flight": [{"name": "jobs", "per": "user", "limit": 50}],
}
SHARED = {"store": {"kind": "redis"}, "ledger": {"kind": "redis"}}
SLOW_SUBMIT = Fault(kind=Kind.LATENCY, action="submit", delay=SLOW)
SLOWER = Fault(kind=Kind.LATENCY, action="submit", delay=1.5)


def start(rig: Rig, *faults: Fault, run_seconds: float = SLOW, **sections: Any) -> tuple[SandboxAddresses, Gateway]:
    sandbox = rig.sandbox(replace(QUICK, faults=faults, run_seconds=run_seconds))
    origins = {"queue_origin": sandbox.queue, "run_origin": sandbox.run, "rest_origin": sandbox.rest}
    return sandbox, rig.gateway(sandbox.queue, fal=origins, **{**MONEY, **sections})


@pytest.fixture
def redis_url(rig: Rig, tmp_path: Path) -> Iterator[str]:
    """A store that two gateways share."""
    valkey = Valkey(tmp_path / "valkey")
    rig.run(valkey.start())
    yield f"redis://127.0.0.1:{valkey.port}"
    rig.run(valkey.stop())


def start_two(rig: Rig, redis_url: str, *faults: Fault, **sections: Any) -> tuple[SandboxAddresses, list[Gateway]]:
    """Starts a sandbox and two gateways before it, which share a store."""
    sandbox = rig.sandbox(replace(QUICK, faults=faults, run_seconds=sections.pop("run_seconds", SLOW)))
    origins = {"queue_origin": sandbox.queue, "run_origin": sandbox.run, "rest_origin": sandbox.rest}
    environ = {**ENVIRON, "FAL_PROXY_REDIS_URL": redis_url}
    settings = {**MONEY, **SHARED, **sections}
    return sandbox, [rig.gateway(sandbox.queue, fal=origins, environ=environ, **settings) for _ in range(2)]


def counts(sandbox: SandboxAddresses) -> tuple[int, int]:
    """Returns the numbers of submits and runs that the sandbox accepted."""
    counts = httpx2.get(f"{sandbox.control}/counts", timeout=PATIENCE, trust_env=False).json()
    return counts["submits"]["total"], counts["runs"]["total"]


def spent(gateway: Gateway, subject: str = "alice") -> float:
    with gateway.client(subject) as client:
        budget = client.get("usage").json()["budgets"][0]
    return float(budget["used"] + budget["reserved"])


def request(path: bytes, **fields: object) -> bytes:
    body = json.dumps({**CLICK, **fields}).encode()
    return message("POST", path, bearer(), JSON, body=body)


def called(sandbox: SandboxAddresses) -> int:
    """Returns how many requests with a body the sandbox has received."""
    entries = httpx2.get(f"{sandbox.control}/journal", timeout=PATIENCE, trust_env=False).json()
    return sum(entry["method"] == "POST" for entry in entries)


def lose(sandbox: SandboxAddresses, gateway: Gateway, raw: bytes) -> None:
    """Sends a request, waits until the gateway has called fal, and disconnects before the answer."""
    before = called(sandbox)
    with socket.create_connection(gateway.address, timeout=PATIENCE) as connection:
        connection.sendall(raw)
        until(lambda: called(sandbox) > before)


def ask(gateway: Gateway, raw: bytes) -> tuple[int, dict[str, object], bool]:
    """Status and body of the answer to *raw*, and True where it is marked as replayed."""
    with socket.create_connection(gateway.address, timeout=PATIENCE) as connection:
        connection.sendall(raw)
        received = bytearray()
        while some := connection.recv(65536):
            received += some
    (reply,) = replies(bytes(received))
    return reply.status, json.loads(reply.body), b"idempotent-replayed: true" in bytes(received).lower()


@pytest.mark.parametrize("path", [SUBMIT, RUN], ids=["submit", "run"])
@pytest.mark.parametrize("late", [False, True], ids=["under-way", "answered"])
def test_a_repeat_joins_the_lost_call(rig: Rig, path: bytes, late: bool) -> None:
    """While the call is under way and after its answer came, once: the next repeat is a call of its own."""
    sandbox, gateway = start(rig, SLOW_SUBMIT)
    raw = request(path)
    lose(sandbox, gateway, raw)
    if late:
        until(lambda: gateway.metric("fal_proxy_upstream_active") == 0)
    first = ask(gateway, raw)
    assert (sum(counts(sandbox)), spent(gateway)) == (1, 1.0)
    second = ask(gateway, raw)

    assert (first[0], first[2]) == (200, True)
    assert (second[0], second[2]) == (200, False)
    assert (sum(counts(sandbox)), spent(gateway)) == (2, 2.0)
    assert first[1] != second[1] or path == RUN


def test_another_request_joins_nothing(rig: Rig) -> None:
    """Another input, another action and another caller are calls of their own."""
    sandbox, gateway = start(rig, SLOW_SUBMIT)
    lose(sandbox, gateway, request(SUBMIT))
    other = message("POST", SUBMIT, bearer("bob"), JSON, body=json.dumps(CLICK).encode())
    answers = [ask(gateway, raw) for raw in (request(SUBMIT, seed=7), request(RUN), other)]

    assert [(answer[0], answer[2]) for answer in answers] == [(200, False)] * 3
    assert counts(sandbox) == (3, 1)


def test_a_repeat_of_a_connected_caller_is_a_new_job(rig: Rig) -> None:
    """Two clicks with the same input while the first is connected are two jobs."""
    sandbox, gateway = start(rig, SLOW_SUBMIT)
    with ThreadPoolExecutor(2) as pool:
        answers = [one.result() for one in [pool.submit(ask, gateway, request(SUBMIT)) for _ in range(2)]]

    assert [(answer[0], answer[2]) for answer in answers] == [(200, False)] * 2
    assert len({str(answer[1]["request_id"]) for answer in answers}) == 2
    assert counts(sandbox) == (2, 0)


def test_ten_lost_clicks_give_ten_jobs_and_ten_answers(rig: Rig) -> None:
    """Each repeat takes one lost call; none is shared."""
    sandbox, gateway = start(rig, SLOW_SUBMIT)
    connections = [socket.create_connection(gateway.address, timeout=PATIENCE) for _ in range(10)]
    for connection in connections:
        connection.sendall(request(SUBMIT))
    until(lambda: called(sandbox) == 10)
    for connection in connections:
        connection.close()
    with ThreadPoolExecutor(10) as pool:
        answers = [one.result() for one in [pool.submit(ask, gateway, request(SUBMIT)) for _ in range(10)]]

    assert [(answer[0], answer[2]) for answer in answers] == [(200, True)] * 10
    assert len({str(answer[1]["request_id"]) for answer in answers}) == 10
    assert (counts(sandbox), spent(gateway)) == ((10, 0), 10.0)


def test_a_lost_repeat_can_be_repeated(rig: Rig) -> None:
    """As an impatient front proxy makes a client do: lost, repeated, lost, repeated, answered."""
    sandbox, gateway = start(rig, Fault(kind=Kind.LATENCY, action="submit", delay=3.0))
    raw = request(SUBMIT)
    lose(sandbox, gateway, raw)
    for _ in range(3):
        with socket.create_connection(gateway.address, timeout=0.1) as connection:
            connection.sendall(raw)
            with pytest.raises(TimeoutError):
                connection.recv(1)
    answer = ask(gateway, raw)

    assert (answer[0], answer[2]) == (200, True)
    assert (counts(sandbox), spent(gateway)) == ((1, 0), 1.0)


@pytest.mark.parametrize("path", [SUBMIT, RUN], ids=["submit", "run"])
def test_a_repeat_at_another_worker_joins_the_lost_call(rig: Rig, redis_url: str, path: bytes) -> None:
    """A lost call is joined once at another worker, too: the next repeat is a call of its own."""
    sandbox, (first, second) = start_two(rig, redis_url, SLOW_SUBMIT)
    lose(sandbox, first, request(path))
    time.sleep(BACK_OFF)
    answers = [ask(second, request(path)) for _ in range(2)]

    assert [(answer[0], answer[2]) for answer in answers] == [(200, True), (200, False)]
    assert (sum(counts(sandbox)), spent(first)) == (2, 2.0)


def test_a_click_at_another_worker_is_a_new_job(rig: Rig, redis_url: str) -> None:
    """The first caller is still connected, which its worker shows to be alive."""
    sandbox, (first, second) = start_two(rig, redis_url, SLOW_SUBMIT)
    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask, gateway, request(SUBMIT)) for gateway in (first, second)]
        answers = [one.result() for one in asking]

    assert [(answer[0], answer[2]) for answer in answers] == [(200, False)] * 2
    assert counts(sandbox) == (2, 0)


def test_rejoining_can_be_turned_off(rig: Rig) -> None:
    """With `rejoin_seconds = 0` every repeat is a new call."""
    sandbox, gateway = start(rig, SLOW_SUBMIT, ledger={"rejoin_seconds": 0})
    lose(sandbox, gateway, request(SUBMIT))
    answer = ask(gateway, request(SUBMIT))

    assert (answer[0], answer[2]) == (200, False)
    assert counts(sandbox) == (2, 0)


@pytest.mark.parametrize(
    ("front", "run_via"), [(front_proxies.nginx, "run"), (front_proxies.haproxy, "queue")], ids=["nginx", "haproxy"]
)
def test_the_stock_client_behind_an_impatient_front(rig: Rig, tmp_path: Path, front: FrontProxy, run_via: str) -> None:
    """The front gives up after 1 s, a run takes 2.5 s: each click is one job, and gets its answer."""
    port = front_proxies.free_port()
    endpoints = [{**MONEY["endpoints"][0], "run_via": run_via}]
    origin = f"http://127.0.0.1:{port}"
    sandbox, gateway = start(rig, SLOWER, run_seconds=2.5, endpoints=endpoints, server={"public_origin": origin})
    with front(tmp_path, [gateway.address], timeout=1, port=port):
        javascript("impatient.test.mjs", GATEWAY=f"{origin}/api/fal")

    assert (counts(sandbox), spent(gateway)) == ((2, 1) if run_via == "run" else (3, 0), 3.0)


def test_two_workers_behind_an_impatient_front(rig: Rig, tmp_path: Path, redis_url: str) -> None:
    """The same where each repeat may reach the other worker."""
    port = front_proxies.free_port()
    origin = f"http://127.0.0.1:{port}"
    sandbox, gateways = start_two(rig, redis_url, SLOWER, run_seconds=2.5, server={"public_origin": origin})
    with front_proxies.nginx(tmp_path, [gateway.address for gateway in gateways], timeout=1, port=port):
        javascript("impatient.test.mjs", GATEWAY=f"{origin}/api/fal")

    assert (counts(sandbox), spent(gateways[0])) == ((2, 1), 3.0)

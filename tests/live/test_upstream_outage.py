"""fal hangs, refuses connections or our account: what callers get, and what operators see."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx2
from support.gateway_process import PATIENCE, QUICK, Gateway, Rig, until
from support.in_process_gateway import APP, ENDPOINT, INPUT
from support.scripted_upstream import Peer

from proxy.sandbox.faults import Fault, Kind

SUBMIT = f"queue/{ENDPOINT}"


def events(gateway: Gateway, name: str) -> list[dict[str, object]]:
    """Returns the log's lines of one event so far."""
    lines = [json.loads(line) for line in gateway.journal().splitlines(keepends=True) if line.endswith("\n")]
    return [line for line in lines if line["event"] == name]


def poll(gateway: Gateway, subject: str) -> httpx2.Response:
    with gateway.client(subject) as client:
        return client.get(f"queue/{APP}/requests/{gateway.job(subject)}/status")


def test_a_hang_is_noticed_long_before_the_deadlines(rig: Rig) -> None:
    """Polls of several callers wait; within seconds further ones are refused at once, logged and counted."""
    gateway = rig.gateway(rig.upstream(Peer.gone).url, fal={"poll_seconds": 15})
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(poll, gateway, subject) for subject in ("alice", "bob", "carol")]
        until(lambda: gateway.metric("fal_proxy_upstream_active") == 3.0)
        since = time.monotonic()
        until(lambda: time.monotonic() > since + 4.1)
        late = poll(gateway, "dave")
        with gateway.client() as client:
            ready = client.get(f"{_root(gateway)}/readyz").json()
        assert not any(one.done() for one in waiting)

    until(lambda: bool(events(gateway, "upstream_breaker")))
    (opened,) = events(gateway, "upstream_breaker")
    assert (late.status_code, late.json()["error_type"]) == (503, "upstream_unreachable")
    assert (opened["kind"], opened["state"]) == ("reads", "open")
    assert 'fal_proxy_upstream_breaker_changes_total{kind="reads",state="open"} 1.0' in gateway.metrics()
    assert (ready["ready"], ready["checks"]["upstream"]) == (True, "not answering")


def test_a_full_pool_is_our_own_and_has_room_for_cancels(rig: Rig) -> None:
    """Polls fill the pool: one more gets a 503 with a type of its own, and a cancel still reaches fal."""
    cancels: list[bytes] = []

    async def fal(peer: Peer) -> None:
        while True:
            request = await peer.request()
            if request.startswith(b"PUT"):
                cancels.append(request)
                body = b'{"status":"OK"}'
                peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n" + body)

    upstream = rig.upstream(fal)
    gateway = rig.gateway(upstream.url, fal={"max_connections": 4, "poll_seconds": 5})
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(poll, gateway, "alice") for _ in range(3)]
        until(lambda: gateway.metric("fal_proxy_upstream_active") == 3.0)
        full = poll(gateway, "alice")
        with gateway.client() as client:
            cancel = client.put(f"queue/{APP}/requests/{gateway.job()}/cancel")
        assert not any(one.done() for one in waiting)

    assert (full.status_code, full.json()["error_type"], full.headers["retry-after"]) == (
        503,
        "upstream_pool_full",
        "1",
    )
    assert (cancel.status_code, len(cancels)) == (200, 1)


def test_a_locked_account_pauses_the_service(rig: Rig) -> None:
    """One submit reaches fal.

    The others are refused here, also those with a bad body, and polls get the same.
    """
    sandbox = rig.sandbox(replace(QUICK, faults=(Fault(kind=Kind.LOCKED),)))
    gateway = rig.gateway(sandbox.queue)
    with gateway.client() as client:
        answers = [client.post(SUBMIT, json=INPUT), client.post(SUBMIT, json=INPUT), client.post(SUBMIT, json={})]
        polled = poll(gateway, "bob")
        ready = client.get(f"{_root(gateway)}/readyz").json()
    journal = httpx2.get(f"{sandbox.control}/journal", timeout=PATIENCE, trust_env=False).json()
    until(lambda: bool(events(gateway, "upstream_account")))

    assert {(answer.status_code, answer.json()["error_type"]) for answer in (*answers, polled)} == {
        (503, "service_paused")
    }
    assert {answer.headers["retry-after"] for answer in (*answers, polled)} == {"20"}
    assert len([entry for entry in _entries(journal) if entry["method"] == "POST"]) == 1
    (paused,) = events(gateway, "upstream_account")
    assert (paused["state"], paused["cause"], paused["scope"]) == ("paused", "locked", "key")
    assert "Exhausted balance" in str(paused["reason"])
    assert gateway.metric("fal_proxy_upstream_paused") == 1.0
    assert (ready["ready"], ready["checks"]["upstream"]) == (True, "fal refuses our account: locked")


def _entries(journal: object) -> list[dict[str, object]]:
    entries = journal if isinstance(journal, list) else journal["entries"]  # type: ignore[index]
    return list(entries)


def _root(gateway: Gateway) -> str:
    host, port = gateway.address
    return f"http://{host}:{port}"

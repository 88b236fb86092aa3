"""A caller that leaves: a poll ends with it, a submit does not."""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import dataclass, field

import pytest
from support.gateway_process import JSON, Gateway, Rig, bearer, message, until
from support.in_process_gateway import APP, ENDPOINT, INPUT, QUEUED
from support.scripted_upstream import Peer

CANCEL_WITHIN = 1.0  # seconds, from the caller's leaving to the end of fal's request


@dataclass
class Patient:
    """An upstream that hears a request and answers nothing before `let_go`; it counts who left meanwhile."""

    heard: int = 0
    left: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, peer: Peer) -> None:
        await peer.request()
        self.heard += 1
        gone, released = (asyncio.ensure_future(wait) for wait in (peer.gone(), self.released.wait()))
        await asyncio.wait([gone, released], return_when=asyncio.FIRST_COMPLETED)
        self.left += gone.done()
        gone.cancel()
        released.cancel()
        body = json.dumps(QUEUED).encode()
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    async def let_go(self) -> None:
        self.released.set()


def call(gateway: Gateway, method: str, path: str, body: bytes | None = None) -> socket.socket:
    """Sends a request and leaves its answer unread."""
    connection = socket.create_connection(gateway.address)
    connection.sendall(message(method, f"/api/fal/queue/{path}".encode(), bearer(), JSON, body=body))
    return connection


@pytest.mark.parametrize(
    ("method", "rest"), [("GET", "/status"), ("GET", ""), ("PUT", "/cancel")], ids=["status", "result", "cancel"]
)
def test_a_caller_leaves_during_a_read(rig: Rig, method: str, rest: str) -> None:
    """The request to fal is cancelled, its place in the pool is free, and the next one is served."""
    patient = Patient()
    gateway = rig.gateway(rig.upstream(patient).url)
    path = f"{APP}/requests/{gateway.job()}{rest}"
    caller = call(gateway, method, path)
    until(lambda: patient.heard == 1)
    assert gateway.metric("fal_proxy_upstream_active") == 1
    caller.close()

    until(lambda: patient.left == 1, CANCEL_WITHIN)
    until(lambda: gateway.metric("fal_proxy_upstream_active") == 0)
    until(gateway.requests)
    assert [line["status"] for line in gateway.requests()] == [499]
    assert patient.heard == 1
    rig.run(patient.let_go())
    with gateway.client() as client:
        assert client.request(method, f"queue/{path}").status_code == 200


def test_many_callers_leave(rig: Rig) -> None:
    """Nothing is left of fifty polls whose callers went, and fifty more find room at once."""
    patient = Patient()
    gateway = rig.gateway(rig.upstream(patient).url, fal={"max_connections": 53})  # of which 2 are for cancels
    for _ in range(2):
        patient.heard = patient.left = 0
        callers = [call(gateway, "GET", f"{APP}/requests/{gateway.job()}/status") for _ in range(50)]
        until(lambda: patient.heard == 50)
        for caller in callers:
            caller.close()
        until(lambda: patient.left == 50, CANCEL_WITHIN + 1)  # the test's own fifty hang-ups take a moment
        until(lambda: gateway.metric("fal_proxy_upstream_active") == 0)


def test_a_caller_leaves_during_a_submit(rig: Rig) -> None:
    """fal's request goes on to its end, and the job it took is accounted for."""
    patient = Patient()
    gateway = rig.gateway(rig.upstream(patient).url)
    caller = call(gateway, "POST", ENDPOINT, json.dumps(INPUT).encode())
    until(lambda: patient.heard == 1)
    caller.close()
    with gateway.client() as client:  # served after the hang-up, so that one has been noticed
        assert client.get(f"queue/{APP}/requests/x/status").status_code == 404
    assert patient.left == 0
    rig.run(patient.let_go())

    until(lambda: any(line["action"] == "submit" for line in gateway.requests()))
    (line,) = [line for line in gateway.requests() if line["action"] == "submit"]
    assert (line["outcome"], line["status"]) == ("accepted", 200)
    assert (patient.heard, patient.left) == (1, 0)
    assert gateway.metric("fal_proxy_upstream_active") == 0


def test_a_caller_leaves_before_the_body_is_whole(rig: Rig) -> None:
    """A part of a submit is not a submit: fal hears nothing."""
    patient = Patient()
    upstream = rig.upstream(patient)
    gateway = rig.gateway(upstream.url)
    path = f"/api/fal/queue/{ENDPOINT}".encode()
    whole = message("POST", path, bearer(), JSON, body=json.dumps(INPUT).encode())
    with socket.create_connection(gateway.address) as caller:
        caller.sendall(whole[:-1])

    until(gateway.requests)
    assert [line["status"] for line in gateway.requests()] == [499]
    assert upstream.accepted == 0

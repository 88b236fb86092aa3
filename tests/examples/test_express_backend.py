from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from support.gateway_process import PATIENCE
from support.node_programs import EXAMPLES, installed, node_server

from proxy.testing import FalGateway

SECRET = "9fK2-vQ7x_Lm4Zt8Rw1Yb6Nc3Hd5Js0Pg"
ALICE, BOB = {"authorization": "Bearer key-of-alice"}, {"authorization": "Bearer key-of-bob"}


@pytest.fixture
def fal_gateway_config(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SESSION_SECRET", SECRET)
    return EXAMPLES / "express-backend" / "fal-proxy.toml"


@pytest.fixture
def backend(fal_gateway: FalGateway) -> Iterator[httpx2.Client]:
    sessions = '{"key-of-alice": "alice", "key-of-bob": "bob"}'
    script = installed("express-backend") / "server.js"
    with (
        node_server(script, SESSION_SECRET=SECRET, FAL_GATEWAY=fal_gateway.url, APP_SESSIONS=sessions) as origin,
        httpx2.Client(base_url=origin, timeout=PATIENCE, trust_env=False) as client,
    ):
        yield client


def test_a_phone_calls_the_gateway_with_a_token_of_the_backend(backend: httpx2.Client, fal_gateway: FalGateway) -> None:
    """The minted token opens the gateway for the signed-in user; without a login there is none."""
    token = backend.post("/fal-token", headers=ALICE).json()["token"]
    with fal_gateway.client(None) as phone:
        job = phone.post("queue/fal-ai/flux/dev", json={"prompt": "x"}, headers={"authorization": f"Bearer {token}"})

    assert job.status_code == 200
    assert backend.post("/fal-token").status_code == 401


def test_the_backend_calls_the_gateway_for_a_user(backend: httpx2.Client, fal_gateway: FalGateway) -> None:
    """A picture is the user's own; a repeat under one key is one job; the phone gets the budget's refusal."""
    repeated = {**ALICE, "idempotency-key": "picture-1"}
    ids = {backend.post("/pictures", json={"prompt": "x"}, headers=repeated).json()["id"] for _ in range(2)}
    (job,) = ids
    picture = httpx2.Response(202)
    end = time.monotonic() + PATIENCE
    while "url" not in picture.text and time.monotonic() < end:
        picture = backend.get(f"/pictures/{job}", headers=ALICE)
    second = backend.post("/pictures", json={"prompt": "y"}, headers=ALICE)
    third = backend.post("/pictures", json={"prompt": "z"}, headers=ALICE)

    assert picture.json()["url"].startswith(fal_gateway.sandbox.addresses.rest)
    assert backend.get(f"/pictures/{job}", headers=BOB).status_code == 404
    assert (second.status_code, third.status_code, third.json()["type"]) == (200, 402, "budget_exceeded")
    assert fal_gateway.sandbox.counts.submits == 2

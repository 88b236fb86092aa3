"""Load on a gateway with every kind of outcome, for the tests of the operator page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
from support.budgets import APP, ENVIRON, FAL_KEY, PREFIX, Caller, Json, Rig, Sent, endpoint, eventually, money

from proxy.sandbox.faults import Fault, Kind
from proxy.sandbox.settings import SandboxSettings

ROUNDS = 30
BUDGETS = (
    {"name": "daily", "per": "user", "window": "day", "limit": 400},
    {"name": "trial", "per": "user", "window": "day", "limit": 1.0, "endpoints": [endpoint(1)]},
)


@asynccontextmanager
async def two_workers(home: Path, *, environ: Mapping[str, str] = ENVIRON, **admin: object) -> AsyncIterator[Rig]:
    """Two workers on Redis; jobs run for a while, and `endpoint(1)` has a small budget."""
    settings = SandboxSettings(keys=frozenset({FAL_KEY}), queue_seconds=0.1, run_seconds=0.2)
    async with money(
        home, "redis", sandbox=settings, endpoints=3, budgets=BUDGETS, admin=admin, environ=environ
    ) as rig:
        yield rig


async def send_load(rig: Rig, *, rounds: int = ROUNDS, refusals: int = 12) -> None:
    """Sends requests of two users that are answered, refused and failed; returns when all jobs have ended."""
    rig.upstream.fail(Fault(Kind.STATUS, "status", count=3), Fault(Kind.LATENCY, "submit", delay=0.02))
    async with rig.caller("alice", fresh=True) as alice, rig.caller("bob", fresh=True) as bob:
        await asyncio.gather(*(_work(alice, number) for number in range(rounds)))
        await _refusals(rig, bob, refusals)  # last: the page lists 200 requests, and polls would push these out


async def _work(caller: Caller, number: int) -> None:
    sent = await caller.submit(endpoint(2 * (number % 2)), num_images=1 + number % 4)
    await _finish(caller, sent)


async def _finish(caller: Caller, sent: Sent) -> None:
    if sent.job is not None:
        await eventually(lambda: caller.poll(sent.job), lambda poll: poll.body.get("status") == "COMPLETED")


async def _refusals(rig: Rig, bob: Caller, rounds: int) -> None:
    for _ in range(rounds):
        await _finish(bob, await bob.submit(endpoint(1), num_images=1))  # the trial of bob is spent after ten
        await bob.submit(endpoint(0), num_images=0)
        await bob.submit("fal-ai/not-listed/model")
        await bob.poll("00000000-0000-4000-8000-000000000000.AAAAAAAAAAAAAAAAAAAAAA")
    async with httpx2.AsyncClient(base_url=f"{rig.gateway.url}{PREFIX}", trust_env=False) as stranger:
        for credentials in ({}, {"authorization": "Bearer forged"}):
            await stranger.get(f"/queue/{APP}/requests/x/status", headers=credentials)


async def page_data(rig: Rig, address: str = "/operator/data.json") -> Json:
    """Returns the data of the operator page."""
    async with httpx2.AsyncClient(base_url=rig.gateway.admin, trust_env=False) as client:
        return (await client.get(address)).raise_for_status().json()

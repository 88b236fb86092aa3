"""Workers killed under load: clients repeat as the stock ones do, without keys, and no click becomes two jobs."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from support.budgets import UNITS, Caller, Rig, Sent, endpoint, eventually, money

from proxy.sandbox.faults import Fault, Kind
from proxy.sandbox.settings import SandboxSettings

CLICKS, EVERY = 240, 0.0125  # clicks, and seconds between two of them: 80 a second
TRIES, BACK_OFF = 8, 0.5  # seconds before the first repeat; it doubles
SLOW = SandboxSettings(
    queue_seconds=3600, run_seconds=3600, faults=(Fault(kind=Kind.LATENCY, action="submit", delay=0.15),)
)


async def click(rig: Rig, number: int) -> Sent:
    """One click: repeated after a broken connection and a 503, as the stock clients repeat it, never after a 504."""
    await asyncio.sleep(number * EVERY)
    async with Caller(rig.gateway.url, f"user-{number % 7}", fresh=True, patient=False) as caller:
        for attempt in range(TRIES):
            sent = await caller.submit(endpoint(number))
            if sent.status not in (0, 502, 503):
                return sent
            await asyncio.sleep(BACK_OFF * 2.0 ** min(attempt, 2))
    return sent


async def check(rig: Rig, sent: list[Sent]) -> None:
    """Each accepted click has one job of its own, and no click has two."""
    jobs = rig.upstream.jobs()
    accepted = [one for one in sent if one.status == 200]
    doubled = {name: count for name, count in jobs.items() if count > 1}

    assert doubled == {}
    assert {one.status for one in sent} <= {200, 504}
    assert len({one.job for one in accepted}) == len(accepted)
    assert all(jobs[one.endpoint] == 1 for one in accepted)
    assert len(accepted) > CLICKS / 2


async def test_killed_workers_double_nothing(tmp_path: Path) -> None:
    """Two workers on Redis, one of them killed again and again while fal takes its time."""
    dice = random.Random(7)
    async with money(tmp_path, "redis", sandbox=SLOW, endpoints=CLICKS) as rig:
        clicks = [asyncio.create_task(click(rig, number)) for number in range(CLICKS)]
        for _ in range(6):
            await asyncio.sleep(0.4)
            rig.gateway.kill_worker(dice)
        await check(rig, list(await asyncio.gather(*clicks)))
        assert len(rig.gateway.journal("worker_ended")) >= 3


async def test_a_killed_process_doubles_nothing(tmp_path: Path) -> None:
    """The only process, with its ledger in a file: it is killed, starts again, and knows the calls of before."""
    async with money(tmp_path, "sqlite", sandbox=SLOW, endpoints=CLICKS) as rig:
        clicks = [asyncio.create_task(click(rig, number)) for number in range(CLICKS)]
        for _ in range(3):
            await asyncio.sleep(0.5)
            await rig.gateway.stop(9)
            await rig.gateway.start()
        sent = list(await asyncio.gather(*clicks))
        await check(rig, sent)
        async with rig.caller("user-0") as caller:
            mine = sum(rig.upstream.jobs().get(endpoint(number), 0) for number in range(0, CLICKS, 7))
            await eventually(lambda: caller.units("ample"), lambda units: units >= round(mine * UNITS, 6))

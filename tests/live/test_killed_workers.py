"""Workers killed under load: clients repeat as stock ones, without keys, and no click is two jobs."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from support.budgets import UNITS, Caller, Rig, Sent, endpoint, eventually, money

from proxy.sandbox.faults import Fault, Kind
from proxy.sandbox.settings import SandboxSettings

CLICKS, AT_ONCE, KILLS = 120, 12, 3
TRIES, BACK_OFF = 40, 0.5  # seconds before the first repeat; it doubles twice
SLOW = SandboxSettings(
    queue_seconds=3600, run_seconds=3600, faults=(Fault(kind=Kind.LATENCY, action="submit", delay=0.15),)
)


class Clicks:
    """Clicks of several users, AT_ONCE of them under way, each repeated as the stock clients repeat it.

    Each has a prompt of its own; *endpoints* is how many there are.
    """

    def __init__(self, rig: Rig, *, count: int = CLICKS, endpoints: int = CLICKS) -> None:
        self._rig = rig
        self._endpoints = endpoints
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._progress = asyncio.Condition()
        self.answers: list[Sent] = []
        self.tasks = [asyncio.create_task(self._click(number)) for number in range(count)]

    async def answered(self, count: int) -> None:
        """Returns once *count* clicks have their answers."""
        async with self._progress:
            await self._progress.wait_for(lambda: len(self.answers) >= count)

    async def _click(self, number: int) -> None:
        async with self._slots, Caller(self._rig.gateway.url, f"user-{number % 7}", fresh=True, patient=False) as user:
            sent = await self._until_answered(user, number)
        async with self._progress:
            self.answers.append(sent)
            self._progress.notify_all()

    async def _until_answered(self, caller: Caller, number: int) -> Sent:
        """Repeats after a broken connection, a 502 and a 503, never after a 504."""
        for attempt in range(TRIES):
            sent = await caller.submit(endpoint(number % self._endpoints), prompt=f"click {number}")
            if sent.status not in (0, 502, 503):
                break
            await asyncio.sleep(BACK_OFF * 2.0 ** min(attempt, 2))
        return sent


async def check(rig: Rig, sent: list[Sent]) -> None:
    """Checks that each accepted click has one job of its own, and no click has two."""
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
        clicks = Clicks(rig)
        for kill in range(KILLS):
            await clicks.answered(30 * (kill + 1))
            rig.gateway.kill_worker(dice)
        await asyncio.gather(*clicks.tasks)
        await check(rig, clicks.answers)
        assert len(rig.gateway.journal("worker_ended")) >= KILLS / 2


async def test_a_killed_process_doubles_nothing(tmp_path: Path) -> None:
    """The only process, its ledger in a file, is killed, starts again, and knows the calls of before."""
    async with money(tmp_path, "sqlite", sandbox=SLOW, endpoints=CLICKS) as rig:
        clicks = Clicks(rig)
        for kill in range(2):
            await clicks.answered(40 * (kill + 1))
            await rig.gateway.stop(9)
            await rig.gateway.start()
        await asyncio.gather(*clicks.tasks)
        await check(rig, clicks.answers)
        async with rig.caller("user-0") as caller:
            jobs = sum(rig.upstream.jobs().values())
            await eventually(lambda: caller.units("ample"), lambda units: units >= round(jobs * UNITS, 6))

"""Workers killed under clicks of the stock clients, without keys: `python -m bench kills`.

Two workers on Redis behind nginx. Status 1 where a click became two jobs, or got another's job.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from starlette.types import ASGIApp

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.budgets import FAL_KEY, Rig, eventually, money
from support.submit_recorder import SubmitRecorder

from bench.clicks import USERS, Clicks, clicking, front
from proxy.sandbox.faults import Fault, Kind
from proxy.sandbox.settings import SandboxSettings

WORKERS = 2
REPLACED = 30.0  # seconds until the next kill, where a worker takes longer to be replaced
SLOW = SandboxSettings(
    keys=frozenset({FAL_KEY}),
    queue_seconds=3600,
    run_seconds=3600,
    faults=(Fault(kind=Kind.LATENCY, action="submit", delay=0.15),),  # so that a kill finds calls under way
)


def main(arguments: Sequence[str]) -> int:
    """Kills workers, and prints what became of the clicks."""
    parser = argparse.ArgumentParser(prog="python -m bench kills")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--rate", type=float, default=80.0, help="clicks a second, half by each client")
    parser.add_argument("--seed", type=int, default=11)
    parsed = parser.parse_args(arguments)
    return 0 if asyncio.run(_run(parsed.kills, parsed.rate, random.Random(parsed.seed))) else 1


async def _run(kills: int, rate: float, dice: random.Random) -> bool:
    with tempfile.TemporaryDirectory(prefix="fal-proxy-kills-") as home:
        recorders: list[SubmitRecorder] = []

        def recorded(app: ASGIApp) -> ASGIApp:
            recorders.append(SubmitRecorder(app))
            return recorders[0]

        async with money(Path(home), "redis", sandbox=SLOW, wrap=recorded) as rig:
            with front(Path(home) / "nginx", rig) as ports:
                begun = time.monotonic()
                async with clicking(ports, rate=rate / 2) as clicks:
                    await _kill(rig, kills, dice)
                    seconds = time.monotonic() - begun
            return await _report(rig, clicks, recorders[0], seconds)


async def _kill(rig: Rig, kills: int, dice: random.Random) -> None:
    """Kills a worker again and again, once all work or REPLACED seconds have passed."""

    async def workers() -> list[int]:
        return rig.gateway.workers()

    for number in range(kills):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REPLACED):
                await eventually(workers, lambda running: len(running) == WORKERS)
        await asyncio.sleep(dice.uniform(0.5, 1.5))
        before = await eventually(workers, bool)
        rig.gateway.kill_worker(dice)
        await eventually(workers, lambda running: running != before)  # noqa: B023 called at once
        print(f"kill {number + 1}, {len(before)} workers served", file=sys.stderr, flush=True)


async def _report(rig: Rig, clicks: Clicks, recorder: SubmitRecorder, seconds: float) -> bool:
    jobs, prompts = recorder.accepted(), recorder.prompts()
    doubled = {prompt: count for prompt, count in jobs.items() if count > 1}
    known = {click["click"]: click["requestId"] for click in clicks.ended if click["status"] == 200}
    strange = [click for click, handle in known.items() if prompts.get(handle.partition(".")[0]) != click]
    unanswered = {click["click"]: click["status"] for click in clicks.ended if click["click"] not in known}
    ran = {click: status for click, status in unanswered.items() if click in jobs}
    journal = rig.gateway.journal()
    joined = sum(line.get("outcome") == "replayed" for line in journal)
    requests = sum(line["event"] == "request" and line.get("action") == "submit" for line in journal)
    killed = sum(line["event"] == "worker_ended" for line in journal)
    listed = {prompts.get(handle.partition(".")[0]) for handle in await listed_jobs(rig)}
    print(
        f"{killed} workers killed in {seconds:.0f} s under {len(clicks.ended) / seconds:.0f} clicks a second "
        f"(JavaScript {_count(clicks, 'js')}, Python {_count(clicks, 'py')})\n"
        f"{len(clicks.ended)} clicks, {requests} submits in the journal, {joined} of them joined an earlier call\n"
        f"{jobs.total()} jobs at fal; {len(doubled)} clicks with two jobs; {len(strange)} with another's job\n"
        f"{len(known)} clicks got their job; {len(ran)} have a job and did not get it "
        f"({_by_status(ran.values())}), {len(ran.keys() & listed)} of these are in `jobs` with their id; "
        f"{len(unanswered) - len(ran)} have none ({_by_status(unanswered.values())} in all)\n"
        f"{len(jobs.keys() & listed)} of {len(jobs)} jobs are in their callers' lists with their id; "
        f"{sum(click['byHand'] > 0 for click in clicks.ended)} clicks were repeated by hand",
        *(line for prompt in list(doubled)[:10] for line in _story(prompt, clicks, recorder, journal)),
        *strange[:10],
        sep="\n",
    )
    return not doubled and not strange


def _story(
    prompt: str, clicks: Clicks, recorder: SubmitRecorder, journal: Sequence[Mapping[str, object]]
) -> Iterator[object]:
    """Yields the record of the click *prompt*, its submits at fal, and the journal's lines of them."""
    yield next(click for click in clicks.ended if click["click"] == prompt)
    for submit in recorder.submits:
        if submit.prompt == prompt:
            yield submit
            yield from (line for line in journal if submit.job and submit.job in str(line))
    yield "worker_ended: " + " ".join(str(line["time"]) for line in journal if line["event"] == "worker_ended")


async def listed_jobs(rig: Rig) -> list[str]:
    """Returns the handles in the job lists of all users."""
    handles: list[str] = []
    for number in range(USERS):
        async with rig.caller(f"user-{number}") as caller:
            query: str | None = "limit=100"
            while query is not None:
                page = await caller.jobs(query)
                handles += [job["request_id"] for job in page["jobs"] if job["request_id"] is not None]
                query = f"limit=100&cursor={page['next_cursor']}" if page["next_cursor"] else None
    return handles


def _count(clicks: Clicks, name: str) -> int:
    return sum(click["click"].startswith(name) for click in clicks.ended)


def _by_status(statuses: Iterable[int]) -> str:
    return ", ".join(f"{count} x {status}" for status, count in sorted(Counter(statuses).items())) or "none"

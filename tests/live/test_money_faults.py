"""Tests of submits with every fault: no job is paid twice, and none runs unpaid."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import signal
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from support.budgets import (
    CLIENTS,
    INPUT,
    PREFIX,
    UNITS,
    Json,
    Rig,
    Sent,
    StoreKind,
    endpoint,
    eventually,
    moment,
    money,
    token,
    until,
)

from proxy.sandbox.faults import Fault, Kind


@dataclass(frozen=True, slots=True)
class Trouble:
    """One way for a submit to go wrong: *fault* at the sandbox, or without one a connection refused.

    *status* is the expected answer, *runs* is True where there is a job all the same.
    """

    fault: Fault | None
    status: int
    runs: bool


def _trouble(results: int, kind: Kind, *, runs: bool = False, **more: Json) -> Trouble:
    after = runs and kind not in (Kind.LATENCY, Kind.TRUNCATE, Kind.CONTENT_TYPE)  # these carry it out anyway
    return Trouble(Fault(kind, "submit", count=1, after=after, **more), results, runs)


WELL = _trouble(200, Kind.LATENCY, runs=True)
TROUBLES: Mapping[str, Trouble] = {
    "connection-refused": Trouble(None, 503, runs=False),
    "reset": _trouble(504, Kind.RESET),
    "reset-after": _trouble(504, Kind.RESET, runs=True),
    "hang": _trouble(504, Kind.HANG),
    "hang-after": _trouble(504, Kind.HANG, runs=True),
    "500": _trouble(504, Kind.STATUS, status=500),
    "500-after": _trouble(504, Kind.STATUS, status=500, runs=True),
    "502-html": _trouble(504, Kind.STATUS, status=502, html=True),
    "502-html-after": _trouble(504, Kind.STATUS, status=502, html=True, runs=True),
    "503-json": _trouble(503, Kind.STATUS, status=503),
    "503-html": _trouble(504, Kind.STATUS, status=503, html=True),
    "503-html-after": _trouble(504, Kind.STATUS, status=503, html=True, runs=True),
    "429": _trouble(429, Kind.STATUS, status=429),
    "401": _trouble(503, Kind.STATUS, status=401),
    "truncated": _trouble(504, Kind.TRUNCATE, runs=True),
    "as-html": _trouble(504, Kind.CONTENT_TYPE, runs=True),
    "garbage": _trouble(504, Kind.GARBAGE),
    "garbage-after": _trouble(504, Kind.GARBAGE, runs=True),
    "not-json": _trouble(504, Kind.NOT_JSON),
    "not-json-after": _trouble(504, Kind.NOT_JSON, runs=True),
    "redirect": _trouble(504, Kind.REDIRECT),
}


@dataclass(frozen=True, slots=True)
class Case:
    """A submit that met *trouble*: its answer, its jobs, and the units spent on it."""

    name: str
    trouble: Trouble
    status: int
    jobs: int
    units: float

    @property
    def is_sound(self) -> bool:
        """Told as it was, and paid for where there is, or may be, a job."""
        due = UNITS if self.status in (200, 504) else 0
        return (self.status, self.jobs, self.units) == (self.trouble.status, int(self.trouble.runs), due)


async def matrix(rig: Rig, count: int) -> list[Case]:
    """Sends *count* submits in turn, each to an endpoint of its own, every third with a fault.

    With more of them the gateway would, rightly, stop asking fal.
    """
    names, results = itertools.cycle(TROUBLES), []
    async with rig.caller(fresh=True) as caller:
        for number in range(count):
            name = "none" if number % 3 else next(names)
            trouble = TROUBLES.get(name, WELL)
            if trouble.fault is None:
                await rig.upstream.close()
            else:
                rig.upstream.fail(trouble.fault)
            results.append((name, trouble, await caller.submit(endpoint(number))))
            if trouble.fault is None:
                await rig.upstream.open()
    jobs, rows = rig.upstream.jobs(), await rig.usage()
    return [
        Case(name, trouble, sent.status, jobs.get(sent.endpoint, 0), rows[sent.endpoint]["reserved"])
        for name, trouble, sent in results
    ]


@dataclass(frozen=True, slots=True)
class Fate:
    """Result of an idempotency key: its jobs, the handles in its answers, and the units spent on it.

    *statuses* are what the client made of each submit under it, *replay* what it says once all is calm again.
    """

    jobs: int
    handles: frozenset[str]
    units: float
    statuses: tuple[int, ...]
    replay: Sent

    @property
    def is_sound(self) -> bool:
        """At most one job, told as one and the same, and paid for; what was accepted is never denied again."""
        denied = 200 in self.statuses and self.replay.status not in (200, 504)
        return len(self.handles) <= self.jobs <= 1 and self.units >= self.jobs * UNITS and not denied


@dataclass(frozen=True, slots=True)
class Storm:
    """Result of a storm. *struck* counts faults of the gateway; *attempts* are the client's requests."""

    fates: list[Fate]
    struck: Counter[str]
    attempts: int


async def storm(rig: Rig, keys: int, *, seed: int) -> Storm:
    """Sends *keys* of the stock JavaScript client, every fourth twice at a time, with all faults."""
    numbers = [number for number in range(keys) for _ in range(1 + (number % 4 == 0))]
    rig.upstream.fail(*_weather())
    over = asyncio.Event()
    striking = asyncio.create_task(_strikes(rig, random.Random(seed), over))
    results = await _stock_client(rig, [{"endpoint": endpoint(n), "key": f"key-{n}"} for n in numbers])
    over.set()
    struck = await striking
    rig.upstream.fail()
    async with rig.caller(fresh=True) as caller:
        replays = [await caller.submit(endpoint(n), key=f"key-{n}") for n in range(keys)]
    jobs, rows = rig.upstream.jobs(), await rig.usage()
    fates = []
    for replay in replays:
        name = replay.endpoint
        answers = [one for one in results if one["endpoint"] == name]
        handles = [replay.job, *(one.get("requestId") for one in answers)]
        fates.append(
            Fate(
                jobs=jobs.get(name, 0),
                handles=frozenset(handle for handle in handles if handle),
                units=rows[name]["reserved"] if name in rows else 0,
                statuses=tuple(one["status"] for one in answers),
                replay=replay,
            )
        )
    return Storm(fates, struck, sum(one["attempts"] for one in results))


async def _stock_client(rig: Rig, submits: list[dict[str, str]]) -> list[dict[str, Json]]:
    """Returns the results of `@fal-ai/client`, with its replays, for *submits*; see clients/money.mjs."""
    task = {
        "url": f"{rig.gateway.url}{PREFIX}/proxy",
        "session": token("alice"),
        "concurrency": 12,
        "input": INPUT,
        "submits": submits,
    }
    node = await asyncio.create_subprocess_exec(
        "node", CLIENTS / "money.mjs", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await node.communicate(json.dumps(task).encode())
    assert node.returncode == 0
    return [json.loads(line) for line in printed.splitlines()]


def _weather() -> list[Fault]:
    """Makes a third of the submits fail and others slow, so that strikes find them at every step."""
    faults = [trouble.fault for trouble in TROUBLES.values() if trouble.fault is not None]
    slow = [Fault(Kind.LATENCY, "submit", probability=0.3, delay=delay) for delay in (0.02, 0.1, 0.3)]
    return [*(replace(fault, count=None, probability=0.02) for fault in faults), *slow]


async def _strikes(rig: Rig, dice: random.Random, over: asyncio.Event) -> Counter[str]:
    """Stops the store, kills a process and stops fal, in turns until *over*.

    Returns how often each was.
    """
    struck: Counter[str] = Counter()
    for strike in itertools.cycle(["pause", "kill", "refuse", "kill"]):
        await moment(over, dice.uniform(0.05, 0.6))
        if over.is_set():
            break
        if strike == "refuse":
            await rig.upstream.close()
            await moment(over, dice.uniform(0.02, 0.3))
            await rig.upstream.open()
        elif strike == "kill" and rig.valkey is not None:
            rig.gateway.kill_worker(dice)
        elif strike == "kill":
            await rig.gateway.stop(signal.SIGKILL)
            await rig.gateway.start()
        elif rig.valkey is not None:
            await rig.valkey.pause()
            await moment(over, dice.uniform(0.02, 0.6))
            await rig.valkey.resume()
        else:
            continue  # a file does not pause
        struck[strike] += 1
    return struck


async def test_every_trouble_is_told_and_paid_for_as_it_was(tmp_path: Path) -> None:
    """Jobs that run are those accepted and those unknown that ran.

    A definite refusal gives the money back.
    """
    count = 3 * len(TROUBLES)
    async with money(tmp_path, "redis", endpoints=count, submit_seconds=1) as rig:
        cases = await matrix(rig, count)
        jobs = rig.upstream.jobs()

    assert [case for case in cases if not case.is_sound] == []
    assert sum(jobs.values()) == sum(case.status == 200 or case.trouble.runs for case in cases)


@pytest.mark.parametrize(
    ("store", "strikes"), [("redis", {"pause", "kill"}), ("sqlite", {"kill"})], ids=["redis", "sqlite"]
)
async def test_one_key_is_one_job_whatever_breaks(tmp_path: Path, store: StoreKind, strikes: set[str]) -> None:
    """The stock client replays through bad answers, dying processes, a frozen store and an absent fal."""
    async with money(tmp_path, store, endpoints=30, submit_seconds=1) as rig:
        seen = await storm(rig, 30, seed=1)

    assert [fate for fate in seen.fates if not fate.is_sound] == []
    assert seen.struck.keys() >= strikes
    assert seen.attempts > sum(len(fate.statuses) for fate in seen.fates), "the client replayed nothing"
    assert any(fate.handles for fate in seen.fates)


async def test_a_caller_who_left_finds_the_job_by_its_key(tmp_path: Path) -> None:
    """A submit is finished also without its caller: one job, paid for, and its answer stored."""
    async with money(tmp_path, "redis") as rig, rig.caller() as leaver, rig.caller() as caller:
        rig.upstream.fail(Fault(Kind.LATENCY, "submit", count=1, delay=0.5))
        sending = asyncio.create_task(leaver.submit(endpoint(0), key="mine"))
        await eventually(lambda: caller.units("ample"), lambda units: units == UNITS)
        sending.cancel()
        await until(sending.done)
        replay = await caller.submit(endpoint(0), key="mine")
        poll = await caller.poll(replay.job)
        jobs = rig.upstream.jobs()

    assert sending.cancelled()
    assert (replay.status, replay.is_replayed, poll.status) == (200, True, 202)
    assert jobs == {endpoint(0): 1}

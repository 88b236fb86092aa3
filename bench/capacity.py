"""Costs of one worker and a check of the capacity model: `python -m bench capacity`.

CPU of a poll and a submit with each ledger, memory and CPU of a stream, memory and store of an open job. The model of
`bench/capacity_model.py` gets these costs, and predicts loads that are measured afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Literal

import uvloop
from redis import Redis

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from live.test_streams_steady import Held, hold

from bench.capacity_model import Costs, Measured, RequestCost, Workload, error, needs, request_cost, used
from bench.checks import handles
from bench.crowd import Answer, Crowd
from bench.load import drive
from bench.processes import OTHER_CORE, Server
from bench.rig import Rig, rig
from bench.roster import gateway
from bench.workload import EACH, USERS, Requests, Tokens, body, poll, submit

MOST_ERROR = 0.25
MOST_FAILED = 0.02  # share of the requests of a crowded load
POLLS, SUBMITS = 300.0, 100.0  # a second, each alone
MIXES = (Workload(polls=150, submits=50), Workload(polls=400, submits=80))
FEW_STREAMS, MORE_STREAMS, MOST_STREAMS = 50, 200, 400  # the last one is predicted
JOBS, MORE_JOBS = 10_000, 30_000  # the last one is predicted
_ATTEMPTS = 4
_LEAST_SECONDS = 4.0  # of streams, which are sampled each second
_SETTLE = 3.0  # seconds until a started worker is at rest

Kind = Literal["memory", "sqlite", "redis"]
# Arguments of `gateway`: without budgets, with budgets in a file, with budgets and limits on Redis.
_KINDS: Mapping[Kind, tuple[str, str | None]] = {
    "memory": ("memory", None),
    "sqlite": ("memory", "sqlite"),
    "redis": ("redis", "redis"),
}


@dataclass(frozen=True, slots=True)
class Point:
    """One figure, as predicted and as measured."""

    name: str
    unit: str
    predicted: float
    measured: float

    @property
    def error(self) -> float:
        return error(self.predicted, self.measured)


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU of one worker: *idle* in us of a second, and each *poll* and *submit*.

    *base* is its memory in MiB.
    """

    idle: float
    poll: RequestCost
    submit: RequestCost
    base: float


@dataclass(frozen=True, slots=True)
class Jobs:
    """Growth by open jobs in MiB: of the worker's *memory* and of the *store*."""

    memory: float
    store: float


def main(arguments: Sequence[str]) -> int:
    """Prints costs, predictions and errors. Status 1 where an error is larger than MOST_ERROR."""
    parser = argparse.ArgumentParser(prog="python -m bench capacity")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each load")
    parsed = parser.parse_args(arguments)
    os.sched_setaffinity(0, [OTHER_CORE])
    points: list[Point] = []
    with rig() as ground:
        stream = _streams(parsed.seconds, points)
        for kind in _KINDS:
            _measure(ground, kind, stream, parsed.seconds, points)
    for point in points:
        verdict = "ok" if abs(point.error) <= MOST_ERROR else "MISSED"
        print(
            f"{point.name}: {point.predicted:.3g} {point.unit} predicted, {point.measured:.3g} measured, "
            f"error {point.error:+.0%}: {verdict}"
        )
    return 0 if all(abs(point.error) <= MOST_ERROR for point in points) else 1


def _streams(seconds: float, points: list[Point]) -> tuple[float, float]:
    """Returns CPU in us a second and memory in KiB of one stream."""
    few, more, most = (
        _opened(count, max(seconds, _LEAST_SECONDS)) for count in (FEW_STREAMS, MORE_STREAMS, MOST_STREAMS)
    )
    cpu = (_cores(more) - _cores(few)) / (MORE_STREAMS - FEW_STREAMS)
    memory = _grown(more) / MORE_STREAMS
    print(
        f"stream: {1e6 * cpu:.0f} us a second with a heartbeat and half an event, {1024 * memory:.1f} KiB of a worker"
    )
    left = MOST_STREAMS - FEW_STREAMS
    points.append(Point(f"{MOST_STREAMS} streams", "cores", _cores(few) + left * cpu, _cores(most)))
    points.append(Point(f"{MOST_STREAMS} streams", "MiB more", MOST_STREAMS * memory, _grown(most)))
    return 1e6 * cpu, 1024 * memory


def _opened(count: int, seconds: float) -> Held:
    _say(f"{count} streams")
    with tempfile.TemporaryDirectory(prefix="fal-proxy-capacity-") as home:
        return asyncio.run(hold(Path(home), streams=count, seconds=seconds))


def _cores(run: Held) -> float:
    first, last = run.samples[0], run.samples[-1]
    return (last.cpu - first.cpu) / (last.at - first.at)


def _grown(run: Held) -> float:
    return median(one.resident for one in run.samples) - run.before.resident


def _measure(ground: Rig, kind: Kind, stream: tuple[float, float], seconds: float, points: list[Point]) -> None:
    """Prints the costs of a ledger and adds its points."""
    with _worker(ground, kind) as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        load = Load(server, Tokens(ground.secret), runner.run)
        load.cores(Workload(polls=POLLS, submits=SUBMITS), seconds / 2)  # warm-up
        cpu = _cpu(load, seconds)
        measured = [load.cores(mix, seconds) for mix in MIXES]
    jobs = None if kind == "memory" else _jobs(ground, kind, JOBS)
    costs = Costs(
        idle=cpu.idle,
        poll=cpu.poll,
        submit=cpu.submit,
        stream=stream[0],
        base=cpu.base,
        stream_memory=stream[1],
        job_memory=1024 * jobs.memory / JOBS if jobs else 0.0,
        job_store=1024 * jobs.store / JOBS if jobs else 0.0,
    )
    print(
        f"{kind}: idle {costs.idle / 1e4:.2f} % of a core, poll {_text(costs.poll)}, submit {_text(costs.submit)}, "
        f"{costs.base:.0f} MiB; open job {costs.job_memory:.2f} KiB of it, {costs.job_store:.2f} KiB of store"
    )
    for mix, cores in zip(MIXES, measured, strict=True):
        name = f"{kind}, {mix.polls:g} polls and {mix.submits:g} submits a second"
        points.append(Point(name, "cores", used(mix, costs, 1), cores))
    if jobs:
        points.extend(_job_points(kind, costs, _jobs(ground, kind, MORE_JOBS)))


def _text(cost: RequestCost) -> str:
    return f"{cost.busy:.0f} us and {cost.wake:.0f} to wake"


def _job_points(kind: Kind, costs: Costs, more: Jobs) -> Iterator[Point]:
    found, empty = needs(Workload(open_jobs=MORE_JOBS), costs), needs(Workload(), costs)
    name = f"{kind}, {MORE_JOBS} open jobs"
    if kind == "sqlite":
        yield Point(name, "MiB more of the worker", found.memory - empty.memory, more.memory)
    yield Point(name, "MiB of the store", found.store, more.store)


@contextmanager
def _worker(ground: Rig, kind: Kind, open_jobs: int = 0) -> Iterator[Server]:
    _say(f"{kind}, {open_jobs} open jobs")
    store, ledger = _KINDS[kind]
    name = f"capacity-{kind}-{open_jobs}"
    server = gateway(name, plain=True, store=store, ledger=ledger, open_jobs=open_jobs)(ground)
    try:
        time.sleep(_SETTLE)
        yield server
    finally:
        server.stop()


class Load:
    """Paced polls and submits at one worker."""

    def __init__(self, server: Server, tokens: Tokens, run: Callable[..., list[Answer]]) -> None:
        users = [(user, number) for number in range(EACH) for user in range(USERS)]
        job = handles(server.port, tokens)
        self.server = server
        self._run = run
        self._requests = {
            "poll": [poll(tokens.of_user[user], job(user, number)) for user, number in users],
            "submit": [submit(tokens.of_user[user], body(user, number)) for user, number in users],
        }
        self._sources = {kind: cycle(requests) for kind, requests in self._requests.items()}

    def cores(self, load: Workload, seconds: float) -> float:
        """Returns the part of a core that the worker uses.

        On a machine that others use, some requests may be shed; then it is measured again. Raises RuntimeError where
        that does not help.
        """
        for _ in range(_ATTEMPTS):
            cpu, begun = self.server.cpu().scheduled, time.monotonic_ns()
            answers = self._run(self._send(load, seconds))
            share = (self.server.cpu().scheduled - cpu) / (time.monotonic_ns() - begun)
            failed = Counter(answer.status for answer in answers if not answer.served)
            if not failed:
                return share
            _say(f"{failed.total()} of {len(answers)} requests failed: {dict(failed)}")
        raise RuntimeError("requests fail in each attempt")

    def crowded(self, kind: str, seconds: float) -> Measured:
        """Sends requests of *kind* over 32 connections, as fast as they are answered."""
        requests = self._requests[kind]
        path = self.server.log.with_suffix(f".{kind}.requests")
        path.write_bytes(b"".join(request + b"\0" for request in requests))
        cpu, begun = self.server.cpu().scheduled, time.monotonic_ns()
        run = drive(self.server.port, Requests(path, len(requests)), seconds=max(1, round(seconds)))
        passed = time.monotonic_ns() - begun
        if run.errors > MOST_FAILED * run.requests:
            raise RuntimeError(f"{run.errors} of {run.requests} requests failed")
        return Measured(1e9 * run.requests / passed, (self.server.cpu().scheduled - cpu) / passed)

    async def _send(self, load: Workload, seconds: float) -> list[Answer]:
        crowd = Crowd(self.server.port)
        rates = (("poll", load.polls), ("submit", load.submits))
        await asyncio.gather(*(self._pace(crowd, *each, seconds) for each in rates), asyncio.sleep(seconds))
        crowd.close()
        return crowd.answers

    async def _pace(self, crowd: Crowd, kind: str, rate: float, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        async with asyncio.TaskGroup() as group:
            for number in range(int(rate * seconds)):
                await asyncio.sleep(max(0.0, begun + number / rate - loop.time()))
                group.create_task(crowd.ask(kind, next(self._sources[kind])))


def _cpu(load: Load, seconds: float) -> Cpu:
    idle = load.cores(Workload(), seconds)
    polls = Measured(POLLS, load.cores(Workload(polls=POLLS), seconds))
    submits = Measured(SUBMITS, load.cores(Workload(submits=SUBMITS), seconds))
    return Cpu(
        1e6 * idle,
        request_cost(polls, load.crowded("poll", seconds), 1e6 * idle),
        request_cost(submits, load.crowded("submit", seconds), 1e6 * idle),
        load.server.resident(),
    )


def _jobs(ground: Rig, kind: Kind, count: int) -> Jobs:
    """Returns the growth by *count* open jobs, beside a worker of the same kind without any."""
    with _worker(ground, kind) as server:
        empty = server.resident()
    before = _used(ground)
    with _worker(ground, kind, count) as server:
        grown = server.resident() - empty
        files = ground.home.glob(f"capacity-{kind}-{count}.db*")
        store = _used(ground) - before if kind == "redis" else sum(file.stat().st_size for file in files) / 2**20
    return Jobs(grown, store)


def _used(ground: Rig) -> float:
    with Redis(port=ground.store.port) as redis:
        return int(redis.info("memory")["used_memory"]) / 2**20


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

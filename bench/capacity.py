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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from typing import Literal

import uvloop
from redis import Redis

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from live.test_streams_steady import Held, hold

from bench.capacity_load import Load, Series, Slice, series
from bench.capacity_model import Costs, RequestCost, Workload, error, needs, request_cost, used
from bench.processes import OTHER_CORE, Server
from bench.rig import Rig, rig
from bench.roster import gateway
from bench.workload import Tokens

MOST_ERROR = 0.25
POLLS, SUBMITS = 300.0, 100.0  # a second, each alone
MIXES = (Workload(polls=150, submits=50), Workload(polls=400, submits=80))
FEW_STREAMS, MORE_STREAMS, MOST_STREAMS = 50, 200, 400  # the last one is predicted
JOBS, MORE_JOBS = 10_000, 30_000  # the last one is predicted
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
class Pace:
    """Length of a slice of load in *seconds*, *rounds* of slices, and their order."""

    seconds: float
    rounds: int
    random: Random


@dataclass(frozen=True, slots=True)
class Jobs:
    """Growth by open jobs in MiB: of the worker's *memory* and of the *store*."""

    memory: float
    store: float


def main(arguments: Sequence[str]) -> int:
    """Prints costs, predictions and errors.

    Status 1 where an error is larger than MOST_ERROR, or a part could not be measured.
    """
    parser = argparse.ArgumentParser(prog="python -m bench capacity")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of each slice of load")
    parser.add_argument("--rounds", type=int, default=7, help="slices of each load")
    parser.add_argument("--only", action="append", choices=_KINDS, help="ledger; may be given several times")
    parsed = parser.parse_args(arguments)
    pace = Pace(parsed.seconds, parsed.rounds, Random())
    os.sched_setaffinity(0, [OTHER_CORE])
    points: list[Point] = []
    is_complete = True
    with rig() as ground:
        parts: dict[str, Callable[[], Iterator[Point]]] = {"streams": lambda: _streams(parsed.seconds)}
        for kind in parsed.only or _KINDS:
            parts[kind] = partial(_measure, ground, kind, pace)
        for name, part in parts.items():
            try:
                points.extend(part())
            except (RuntimeError, OSError, AssertionError) as error:  # the last one is of the tests' servers
                _say(f"{name}: not measured: {error}")
                is_complete = False
    for point in points:
        print(_line(point))
    return 0 if is_complete and all(abs(point.error) <= MOST_ERROR for point in points) else 1


def _line(point: Point) -> str:
    verdict = "ok" if abs(point.error) <= MOST_ERROR else "MISSED"
    return (
        f"{point.name}: {point.predicted:.3g} {point.unit} predicted, {point.measured:.3g} measured, "
        f"error {point.error:+.0%}: {verdict}"
    )


def _streams(seconds: float) -> Iterator[Point]:
    """Prints CPU and memory of one stream, and yields its points."""
    few, more, most = (
        _opened(count, max(seconds, _LEAST_SECONDS)) for count in (FEW_STREAMS, MORE_STREAMS, MOST_STREAMS)
    )
    cpu = (_cores(more) - _cores(few)) / (MORE_STREAMS - FEW_STREAMS)
    memory = _grown(more) / MORE_STREAMS
    print(
        f"stream: {1e6 * cpu:.0f} us a second with a heartbeat and half an event, {1024 * memory:.1f} KiB of a worker"
    )
    left = MOST_STREAMS - FEW_STREAMS
    yield Point(f"{MOST_STREAMS} streams", "cores", _cores(few) + left * cpu, _cores(most))
    yield Point(f"{MOST_STREAMS} streams", "MiB more", MOST_STREAMS * memory, _grown(most))


def _opened(count: int, seconds: float) -> Held:
    _say(f"{count} streams")
    with tempfile.TemporaryDirectory(prefix="fal-proxy-capacity-") as home:
        return asyncio.run(hold(Path(home), streams=count, seconds=seconds))


def _cores(run: Held) -> float:
    first, last = run.samples[0], run.samples[-1]
    if last.at == first.at:
        raise RuntimeError("the machine was too slow for two samples")
    return (last.cpu - first.cpu) / (last.at - first.at)


def _grown(run: Held) -> float:
    return median(one.resident for one in run.samples) - run.before.resident


def _measure(ground: Rig, kind: Kind, pace: Pace) -> Iterator[Point]:
    """Prints the costs of a ledger, and yields its points."""
    with _worker(ground, kind) as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        empty = server.resident()
        load = Load(server, Tokens(ground.secret), runner.run)
        found = _loads(load, pace)
        base = server.resident()
    for name, one in found.items():
        _say(f"{kind}, {name}: spread {one.spread:.0%}, {one.failed} slices left out")
    costs = _costs(found, base)
    print(
        f"{kind}: idle {costs.idle / 1e4:.2f} % of a core, poll {_text(costs.poll)}, submit {_text(costs.submit)}, "
        f"{costs.base:.0f} MiB"
    )
    for mix in MIXES:
        measured = found[_name(mix)].middle
        # The rates that were reached: the sender may be late.
        slower = measured.rate / (mix.polls + mix.submits)
        reached = Workload(polls=slower * mix.polls, submits=slower * mix.submits)
        yield Point(f"{kind}, {_name(mix)}", "cores", used(reached, costs, 1), measured.share)
    if kind != "memory":
        yield from _job_points(ground, kind, costs, empty)


def _loads(load: Load, pace: Pace) -> dict[str, Series]:
    """Returns the loads of which costs are computed, and those that are predicted."""
    seconds = pace.seconds
    paced = (Workload(), Workload(polls=POLLS), Workload(submits=SUBMITS), *MIXES)
    slices: dict[str, Slice] = {_name(one): partial(load.paced, one, seconds) for one in paced}
    slices |= {f"crowded {kind}": partial(load.crowded, kind, seconds) for kind in ("poll", "submit")}
    return series(slices, pace.rounds, pace.random, _say)


def _name(load: Workload) -> str:
    return f"{load.polls:g} polls and {load.submits:g} submits a second"


def _costs(found: Mapping[str, Series], base: float) -> Costs:
    idle = 1e6 * found[_name(Workload())].middle.share

    def cost(kind: str, paced: Workload) -> RequestCost:
        return request_cost(found[_name(paced)].middle, found[f"crowded {kind}"].middle, idle)

    return Costs(
        idle=idle,
        poll=cost("poll", Workload(polls=POLLS)),
        submit=cost("submit", Workload(submits=SUBMITS)),
        base=base,
    )


def _text(cost: RequestCost) -> str:
    return f"{cost.busy:.0f} us and {cost.wake:.0f} to wake"


def _job_points(ground: Rig, kind: Kind, costs: Costs, empty: float) -> Iterator[Point]:
    """Prints the memory of an open job, and yields its points. *empty* is a worker's memory without any."""
    few, more = _jobs(ground, kind, JOBS, empty), _jobs(ground, kind, MORE_JOBS, empty)
    costs = replace(costs, job_memory=1024 * few.memory / JOBS, job_store=1024 * few.store / JOBS)
    print(f"{kind}: open job {costs.job_memory:.2f} KiB of the worker, {costs.job_store:.2f} KiB of the store")
    needed, least = needs(Workload(open_jobs=MORE_JOBS), costs), needs(Workload(), costs)
    name = f"{kind}, {MORE_JOBS} open jobs"
    if kind == "sqlite":
        yield Point(name, "MiB more of the worker", needed.memory - least.memory, more.memory)
    yield Point(name, "MiB of the store", needed.store, more.store)


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


def _jobs(ground: Rig, kind: Kind, count: int, empty: float) -> Jobs:
    """Returns the growth by *count* open jobs, from a worker of *empty* MiB without any."""
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

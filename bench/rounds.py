"""Interleaved rounds: each visits every contender and each of its cells, in random order."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from time import monotonic_ns

from bench.load import drive
from bench.processes import CONTENDER_CORE, Server, busy
from bench.roster import Cell, Contender
from bench.workload import WARM_UP, Requests

STEADY = 0.07  # (max - min) / median of the last warm-up slices
STEADY_SLICES = 2
PATIENCE = 1.5  # a contender that is not steady yet is warmed for this many times its usual time at most


@dataclass(frozen=True, slots=True)
class Slice:
    """One stretch of load.

    *cpu* is user + system us a request of the contender's whole tree, *cpu_ticks* the same from the kernel's coarser
    count, *store_cpu* that of its store. *others* is the share of its core that other processes used, *stolen* the
    hypervisor's. Latencies in ms. *failed* requests do not count for *rps*.
    """

    contender: str
    round: int
    kind: str
    mix: str
    requests: int
    rps: float
    cpu: float
    cpu_ticks: float
    store_cpu: float
    p50: float
    p99: float
    others: float
    stolen: float
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of load in one *slice*; *warm* stretches or shortens the contenders' own warm-up times."""

    slice: int = 2
    warm: float = 1.0


@dataclass(frozen=True)
class Running:
    contender: Contender
    server: Server
    requests: Mapping[Cell | str, Requests]
    store: Server | None
    idle: float  # MB, as started


def rounds(
    field: Sequence[Running], *, count: int, pace: Pace, random: Random, say: Callable[[str], None]
) -> Iterator[Slice]:
    """Returns all slices in the order they were taken, those of the warm-ups too (kind "warm-up").

    Raises RuntimeError for a slice in which every request failed.
    """
    for number in range(1, count + 1):
        for running in random.sample(field, len(field)):
            say(f"round {number} of {count}: {running.contender.name}")
            yield from warm_up(running, number, pace)
            for cell in random.sample(running.contender.cells, len(running.contender.cells)):
                yield measure(running, number, *cell, running.requests[cell], pace.slice)
            running.server.empty_log()


def warm_up(running: Running, number: int, pace: Pace) -> Iterator[Slice]:
    """Slices of one second until the time is over and the last of them agree."""
    usual = pace.warm * (running.contender.warm_first if number == 1 else running.contender.warm)
    recent: list[float] = []
    while len(recent) < usual or (len(recent) < usual * PATIENCE and not _steady(recent)):
        piece = measure(running, number, WARM_UP, "fresh", running.requests[WARM_UP], 1)
        recent.append(piece.cpu)
        yield piece


def measure(running: Running, number: int, kind: str, mix: str, requests: Requests, seconds: int) -> Slice:
    store = running.store
    cpu, store_cpu = running.server.cpu(), store.cpu().scheduled if store else 0
    (used, stolen), started = busy(CONTENDER_CORE), monotonic_ns()
    run = drive(running.server.port, requests, seconds=seconds)
    (used_after, stolen_after), passed = busy(CONTENDER_CORE), monotonic_ns() - started
    cpu, store_cpu = running.server.cpu() - cpu, (store.cpu().scheduled if store else 0) - store_cpu
    served = run.requests - run.errors
    if served <= 0:
        raise RuntimeError(f"{running.contender.name}: {run.errors} of {run.requests} requests failed in {kind}, {mix}")
    return Slice(
        contender=running.contender.name,
        round=number,
        kind=kind,
        mix=mix,
        requests=run.requests,
        rps=served / run.seconds,
        cpu=cpu.scheduled / run.requests / 1000,
        cpu_ticks=cpu.ticked / run.requests / 1000,
        store_cpu=store_cpu / run.requests / 1000,
        p50=run.p50,
        p99=run.p99,
        others=max(0, used_after - used - cpu.ticked) / passed,
        stolen=(stolen_after - stolen) / passed,
        failed=run.errors,
    )


def _steady(recent: Sequence[float]) -> bool:
    last = recent[-STEADY_SLICES:]
    return len(last) == STEADY_SLICES and max(last) - min(last) <= STEADY * statistics.median(last)

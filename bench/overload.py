"""Overload: more submits and polls than two workers can answer, with cancels in between.

The workers share 0.15 of a core, so that the load can outrun them on a small machine. First comes the peak of 32
clients that wait for each answer. Then come multiples of it as an open loop, and the time until all answers are good.
The peak is measured again after each load, because other programs change what a request costs. A load is compared with
the means of the peaks before and after it. With nginx in front, as shipped and with its lines about overload on, the
workers see what is within its limit.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory

import uvloop

from bench.crowd import Answer, Crowd
from bench.processes import Server, free_port

CORES = 0.15
CLIENTS = 32
PEAK_SECONDS = 10.0
CALM_RATE = 20.0  # a second, after the overload
CALM_SECONDS = 12.0
POLLS = 3  # for each submit
CANCEL_INTERVAL = 2.0  # seconds


@dataclass(frozen=True)
class Requests:
    """Prepared requests, each used in turn."""

    submits: Sequence[bytes]
    polls: Sequence[bytes]
    cancels: Sequence[bytes]

    def mix(self) -> Iterator[tuple[str, bytes]]:
        """Yields a submit and POLLS polls, again and again."""
        submits, polls = cycle(self.submits), cycle(self.polls)
        while True:
            yield "submit", next(submits)
            for _ in range(POLLS):
                yield "poll", next(polls)


@dataclass(frozen=True, slots=True)
class Load:
    """Result of one load. Rates are answers of 2xx a second, times in ms."""

    factor: float
    seconds: float
    offered: float
    served: float
    submits: float
    polls: float
    p50: float
    p99: float
    statuses: Counter[int]
    refused: int  # until the end of the load
    cancels: tuple[int, int]  # served, of all
    cpu: float  # of a core
    recovery: float = 0.0  # seconds from the end of the load until the last bad answer


@contextmanager
def front(port: int, limit: int | None) -> Iterator[int]:
    """Yields the port to load: *port* of the gateway, or with *limit* that of nginx before it, as shipped."""
    if limit is None:
        yield port
        return
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    # Imported here: they need the packages of the tests.
    from support.front_proxies import nginx_with
    from support.shipped_fronts import limited_site, places

    with TemporaryDirectory(prefix="fal-proxy-overload-") as home:
        at = places(Path(home), free_port(), [("127.0.0.1", port)])
        with nginx_with(at.home, limited_site(at, limit), at.port):
            yield at.port


def measure(
    server: Server,
    port: int,
    requests: Requests,
    factors: Sequence[float],
    seconds: float,
    say: Callable[[str], None],
) -> list[Load]:
    """Returns a peak, and for each of *factors* a load of *seconds* and a peak. *port* is the one to load."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(_Target(server, port, requests), factors, seconds, say))


@dataclass(frozen=True)
class _Target:
    """The *server* whose CPU time counts, the *port* that takes the load, and the load."""

    server: Server
    port: int
    requests: Requests


async def _measure(target: _Target, factors: Sequence[float], seconds: float, say: Callable[[str], None]) -> list[Load]:
    say("warm-up")
    warm = await _peak(target, PEAK_SECONDS / 2)
    if not warm.served:
        raise RuntimeError(f"nothing is served: {dict(warm.statuses)}")
    say("peak")
    loads = [await _peak(target, PEAK_SECONDS)]
    for factor in factors:
        say(f"{factor:g} times the peak")
        loads.append(await _flood(target, loads[-1].served, factor, seconds))
        say("peak")
        loads.append(await _peak(target, PEAK_SECONDS))
    return loads


async def _peak(target: _Target, seconds: float) -> Load:
    crowd = Crowd(target.port)
    source, cpu = target.requests.mix(), target.server.cpu()

    async def client() -> None:
        while True:
            await crowd.ask(*next(source))

    clients = [asyncio.create_task(client()) for _ in range(CLIENTS)]
    await asyncio.sleep(seconds)
    answers, used = list(crowd.answers), target.server.cpu() - cpu
    for task in clients:
        task.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    crowd.close()
    return _summary(1.0, answers, seconds, used.scheduled)


async def _flood(target: _Target, peak: float, factor: float, seconds: float) -> Load:
    loop, crowd = asyncio.get_running_loop(), Crowd(target.port)
    source, random = target.requests.mix(), Random(1)
    cancels = cycle(target.requests.cancels)
    tasks: set[asyncio.Task[Answer]] = set()

    def start(kind: str, request: bytes) -> None:
        task = loop.create_task(crowd.ask(kind, request))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    cpu, began = target.server.cpu(), loop.time()
    due = began
    next_cancel = began + CANCEL_INTERVAL
    while due < began + seconds:
        due += random.expovariate(peak * factor)
        if (wait := due - loop.time()) > 0:
            await asyncio.sleep(wait)
        start(*next(source))
        if due > next_cancel:
            next_cancel += CANCEL_INTERVAL
            start("cancel", next(cancels))
    during = list(crowd.answers)
    used = target.server.cpu() - cpu
    recovery = await _calm(target)
    if tasks:
        await asyncio.wait(tasks)
    crowd.close()
    late = crowd.answers[len(during) :]
    return _summary(factor, during, seconds, used.scheduled, recovery, late)


async def _calm(target: _Target) -> float:
    """Returns the seconds until the last bad answer of new clients at a low rate."""
    loop, crowd, source = asyncio.get_running_loop(), Crowd(target.port), target.requests.mix()
    began = loop.time()
    tasks = []
    while loop.time() < began + CALM_SECONDS:
        tasks.append(loop.create_task(crowd.ask(*next(source))))
        await asyncio.sleep(1 / CALM_RATE)
    await asyncio.wait(tasks)
    crowd.close()
    return max((answer.at + answer.seconds - began for answer in crowd.answers if not answer.served), default=0.0)


def _summary(
    factor: float,
    answers: Sequence[Answer],
    seconds: float,
    cpu: float,
    recovery: float = 0.0,
    late: Sequence[Answer] = (),
) -> Load:
    mixed = [answer for answer in answers if answer.kind != "cancel"]
    served = sorted(answer.seconds for answer in mixed if answer.served)
    cancels = [answer for answer in (*answers, *late) if answer.kind == "cancel"]
    kinds = Counter(answer.kind for answer in mixed if answer.served)
    return Load(
        factor=factor,
        seconds=seconds,
        offered=(len(mixed) + sum(answer.kind != "cancel" for answer in late)) / seconds,
        served=len(served) / seconds,
        submits=kinds["submit"] / seconds,
        polls=kinds["poll"] / seconds,
        p50=1000 * median(served or [0.0]),
        p99=1000 * (served[int(len(served) * 0.99)] if served else 0.0),
        statuses=Counter(answer.status for answer in (*mixed, *late)),
        refused=sum(answer.status == 503 for answer in mixed),
        cancels=(sum(answer.served for answer in cancels), len(cancels)),
        cpu=cpu / 1e9 / seconds,
        recovery=recovery,
    )


def table(loads: Sequence[Load]) -> str:
    """Returns the loads as text, each compared with the peaks beside it."""
    lines = [
        "load   offered/s  served/s    %  submits/s  polls/s  p50 ms  p99 ms    cpu  cancels  recovery s  statuses"
    ]
    found = []
    for before, load, after in zip(loads[::2], loads[1::2], loads[2::2], strict=False):
        peak = _mean(before, after)
        lines += [_row(before, peak), _row(load, peak), _row(after, peak)]
        found += [
            f"{load.factor:g}x: a refusal takes {_refusal_cost(load, peak):.0f} us, a served request {_cost(peak):.0f}",
            f"{load.factor:g}x: " + ", ".join(_goals(load, peak)),
        ]
    return "\n".join([*lines, *found])


def _mean(before: Load, after: Load) -> Load:
    """Returns the means of two peaks, as far as a load is compared with them."""

    def mean(value: Callable[[Load], float]) -> float:
        return (value(before) + value(after)) / 2

    return replace(
        before,
        served=mean(lambda load: load.served),
        submits=mean(lambda load: load.submits),
        p99=mean(lambda load: load.p99),
        cpu=mean(lambda load: load.cpu),
    )


def _goals(load: Load, peak: Load) -> Iterator[str]:
    share = peak.submits / max(peak.served, 1e-9)
    goals = {
        "goodput": load.served >= 0.9 * peak.served,
        "submits": load.submits / max(load.served, 1e-9) >= share / 2,
        "p99": load.p99 <= 3 * peak.p99,
        "cancels": load.cancels[0] == load.cancels[1],
        "recovery": load.recovery <= 5,
    }
    for name, good in goals.items():
        yield f"{name} {'ok' if good else 'MISSED'}"


def _cost(peak: Load) -> float:
    """Returns the CPU time of a served request at the peak, in us."""
    return 1e6 * peak.cpu / max(peak.served, 1e-9)


def _refusal_cost(load: Load, peak: Load) -> float:
    """Returns the CPU time of a refusal in us, where a served request takes as long as at the peak."""
    left = 1e6 * load.cpu - load.served * _cost(peak)
    return left * load.seconds / max(load.refused, 1)


def _row(load: Load, peak: Load) -> str:
    statuses = " ".join(f"{status}:{count}" for status, count in sorted(load.statuses.items()))
    return (
        f"{load.factor:4g}x {load.offered:10.0f}{load.served:10.0f}{100 * load.served / peak.served:5.0f}"
        f"{load.submits:11.1f}{load.polls:9.1f}{load.p50:8.0f}{load.p99:8.0f}{load.cpu:7.3f}"
        f"{load.cancels[0]:5}/{load.cancels[1]:<3}{load.recovery:11.1f}  {statuses}"
    )

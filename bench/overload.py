"""Overload: more submits and polls than two workers can answer, with cancels in between.

The workers share 0.15 of a core, so that the load can outrun them on a small machine. Two more workers of the same
kind, with a store of their own, serve the peak meanwhile: 32 clients that wait for each answer. So a load is compared
with a peak beside it, because other programs change what a request costs within seconds. The load is an open
loop at a multiple of that peak. Then comes the time until all answers are good. The two take turns from round to round:
equal workers differ by as much as a third, as their connections happen to be divided. With nginx in front, as shipped
and with its lines about overload on, the workers see what is within its limit.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, product
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory

import uvloop

from bench.crowd import Answer, Crowd
from bench.processes import Server, free_port

CORES = 0.15
CLIENTS = 32
WARM_SECONDS = 5.0
RATE_WINDOW = 2.0  # seconds of the peak by which the rate of the load is set
MAX_LAG = 0.5  # seconds: as app.conf advises where nginx has the limit
NO_LIMIT = 60_000  # the most that nginx takes is 65,535
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
def front(port: int, limit: int) -> Iterator[int]:
    """Yields the port of nginx before *port* of the gateway, as shipped, with *limit* requests at once."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    # Imported here: they need the packages of the tests.
    from support.front_proxies import nginx_with
    from support.shipped_fronts import limited_site, places

    with TemporaryDirectory(prefix="fal-proxy-overload-") as home:
        at = places(Path(home), free_port(), [("127.0.0.1", port)])
        with nginx_with(at.home, limited_site(at, limit), at.port):
            yield at.port


@dataclass(frozen=True)
class Target:
    """The *server* whose CPU time counts, the ports that take a load and a peak, and the requests."""

    server: Server
    port: int
    peak_port: int
    requests: Requests


def measure(
    pair: tuple[Target, Target], factors: Sequence[float], *, seconds: float, rounds: int, say: Callable[[str], None]
) -> list[tuple[Load, Load]]:
    """Returns loads of *seconds* for each of *factors*, each with the peak beside it."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(pair, factors, seconds, rounds, say))


async def _measure(
    pair: tuple[Target, Target], factors: Sequence[float], seconds: float, rounds: int, say: Callable[[str], None]
) -> list[tuple[Load, Load]]:
    say("warm-up")
    for warm in await asyncio.gather(*(_peak(target, WARM_SECONDS) for target in pair)):
        if not warm.served:
            raise RuntimeError(f"nothing is served: {dict(warm.statuses)}")
    loads = []
    for number, factor in product(range(rounds), factors):
        say(f"{factor:g} times the peak")
        loaded, calm = pair[number % 2], pair[1 - number % 2]
        crowd = Crowd(calm.peak_port)
        beside = asyncio.create_task(_peak(calm, seconds, crowd, skipped=RATE_WINDOW))
        await asyncio.sleep(RATE_WINDOW)
        loads.append((await _flood(loaded, crowd, factor, seconds), await beside))
    return loads


async def _peak(target: Target, seconds: float, crowd: Crowd | None = None, *, skipped: float = 0.0) -> Load:
    """Returns what 32 clients of *target* get in *seconds*, after *skipped* seconds.

    Their answers are in *crowd* meanwhile.
    """
    crowd = crowd or Crowd(target.peak_port)
    source = target.requests.mix()

    async def client() -> None:
        while True:
            await crowd.ask(*next(source))

    clients = [asyncio.create_task(client()) for _ in range(CLIENTS)]
    await asyncio.sleep(skipped)
    before, cpu = len(crowd.answers), target.server.cpu()
    await asyncio.sleep(seconds)
    answers, used = crowd.answers[before:], target.server.cpu() - cpu
    for task in clients:
        task.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    crowd.close()
    return _summary(1.0, answers, seconds, used.scheduled)


class _Rate:
    """Answers of a crowd a second, in the last RATE_WINDOW seconds."""

    def __init__(self, crowd: Crowd) -> None:
        self._answers = crowd.answers
        self._before, self._at = 0, time.monotonic() - RATE_WINDOW
        self.value = 0.0
        self.update()

    def update(self) -> None:
        now = time.monotonic()
        if now - self._at >= RATE_WINDOW:
            served = sum(answer.served for answer in self._answers[self._before :])
            self.value = max(1.0, served / (now - self._at))
            self._before, self._at = len(self._answers), now


async def _flood(target: Target, peak: Crowd, factor: float, seconds: float) -> Load:
    loop, crowd, rate = asyncio.get_running_loop(), Crowd(target.port), _Rate(peak)
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
        rate.update()
        due += random.expovariate(rate.value * factor)
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


async def _calm(target: Target) -> float:
    """Returns the seconds until the last bad answer of new clients at a low rate."""
    loop, crowd, source = asyncio.get_running_loop(), Crowd(target.port), target.requests.mix()
    began = time.monotonic()
    tasks = []
    while time.monotonic() < began + CALM_SECONDS:
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


def table(loads: Sequence[tuple[Load, Load]]) -> str:
    """Returns the loads as text, each compared with the peak beside it, and the medians."""
    lines = [
        "load   offered/s  served/s    %  submits/s  polls/s  p50 ms  p99 ms    cpu  cancels  recovery s  statuses"
    ]
    for load, peak in loads:
        lines += [_row(peak, peak), _row(load, peak)]
    for factor in sorted({load.factor for load, _ in loads}):
        same = [(load, peak) for load, peak in loads if load.factor == factor]
        whole = _ratio(_all_served(load for load, _ in same), _all_served(peak for _, peak in same))
        missed = Counter(name for each in same for name, good in _goals(*each).items() if not good)
        lines.append(
            f"{factor:g}x, medians of {len(same)}: "
            f"goodput {_median(same, lambda load, peak: 100 * _ratio(load.served, peak.served)):.0f} % "
            f"(of all together {100 * whole:.0f} %), "
            f"p99 {_median(same, lambda load, peak: _ratio(load.p99, peak.p99)):.1f} times, "
            f"a refusal {_median(same, _refusal_cost):.0f} us, a served request {_median(same, _cost):.0f}; "
            f"missed: {', '.join(f'{name} {count}' for name, count in missed.items()) or 'nothing'}"
        )
    return "\n".join(lines)


def _ratio(part: float, whole: float) -> float:
    """Returns *part* to *whole*, a large number where nothing was served."""
    return part / max(whole, 1e-9)


def _all_served(loads: Iterable[Load]) -> float:
    return sum(load.served for load in loads)


def _median(loads: Sequence[tuple[Load, Load]], figure: Callable[[Load, Load], float]) -> float:
    return median(figure(*each) for each in loads)


def _goals(load: Load, peak: Load) -> dict[str, bool]:
    share = _ratio(peak.submits, peak.served)
    return {
        "goodput": load.served >= 0.9 * peak.served,
        "submits": _ratio(load.submits, load.served) >= share / 2,
        "p99": load.p99 <= 3 * peak.p99,
        "cancels": load.cancels[0] == load.cancels[1],
        "recovery": load.recovery <= 5,
    }


def _cost(_: Load, peak: Load) -> float:
    """Returns the CPU time of a served request at the peak, in us."""
    return 1e6 * _ratio(peak.cpu, peak.served)


def _refusal_cost(load: Load, peak: Load) -> float:
    """Returns the CPU time of a refusal in us, where a served request takes as long as at the peak."""
    left = 1e6 * load.cpu - load.served * _cost(load, peak)
    return left * load.seconds / max(load.refused, 1)


def _row(load: Load, peak: Load) -> str:
    statuses = " ".join(f"{status}:{count}" for status, count in sorted(load.statuses.items()))
    return (
        f"{load.factor:4g}x {load.offered:10.0f}{load.served:10.0f}{100 * _ratio(load.served, peak.served):5.0f}"
        f"{load.submits:11.1f}{load.polls:9.1f}{load.p50:8.0f}{load.p99:8.0f}{load.cpu:7.3f}"
        f"{load.cancels[0]:5}/{load.cancels[1]:<3}{load.recovery:11.1f}  {statuses}"
    )

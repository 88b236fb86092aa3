"""Loads of one worker in short slices, of which those with failed requests are left out."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import cycle
from random import Random

from bench.capacity_model import Measured, Workload
from bench.checks import handles
from bench.crowd import Answer, Crowd
from bench.load import drive
from bench.processes import Server
from bench.workload import EACH, USERS, Requests, Tokens, body, poll, submit

MOST_FAILED = 0.02  # share of the requests of a slice

Slice = Callable[[], Measured]


class SliceFailed(Exception):
    """Slice in which requests failed, so that its CPU is that of another load."""


@dataclass(frozen=True, slots=True)
class Series:
    """Slices of one load: the *middle* one, the *spread* of all as a share of it, how many *failed*."""

    middle: Measured
    spread: float
    failed: int


class Load:
    """Polls and submits at one worker."""

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

    def paced(self, load: Workload, seconds: float) -> Measured:
        """Sends polls and submits at the rates of *load*. Raises SliceFailed where too many fail."""
        cpu, begun = self.server.cpu().scheduled, time.monotonic_ns()
        answers = self._run(self._send(load, seconds))
        passed = time.monotonic_ns() - begun
        share = (self.server.cpu().scheduled - cpu) / passed
        failed = Counter(answer.status for answer in answers if not answer.served)
        _check(failed.total(), len(answers), dict(failed))
        return Measured(1e9 * len(answers) / passed, share)

    def crowded(self, kind: str, seconds: float) -> Measured:
        """Sends requests of *kind* over 32 connections, as fast as they are answered.

        Raises SliceFailed where too many fail.
        """
        requests = self._requests[kind]
        path = self.server.log.with_suffix(f".{kind}.requests")
        path.write_bytes(b"".join(request + b"\0" for request in requests))
        cpu, begun = self.server.cpu().scheduled, time.monotonic_ns()
        run = drive(self.server.port, Requests(path, len(requests)), seconds=max(1, round(seconds)))
        passed = time.monotonic_ns() - begun
        share = (self.server.cpu().scheduled - cpu) / passed
        _check(run.errors, run.requests, "not told apart")
        return Measured(1e9 * run.requests / passed, share)

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


def _check(failed: int, requests: int, statuses: object) -> None:
    if failed > MOST_FAILED * requests:
        raise SliceFailed(f"{failed} of {requests} requests failed: {statuses}")


def series(slices: Mapping[str, Slice], rounds: int, random: Random, say: Callable[[str], None]) -> dict[str, Series]:
    """Takes each of *slices* once a round, in a random order: a slow time of the machine meets all.

    A first round warms up. A load without a good slice is taken again, for as many rounds. Raises RuntimeError where
    that does not help.
    """
    good: dict[str, list[Measured]] = {name: [] for name in slices}
    for number in range(2 * rounds + 1):
        names = [name for name in slices if number <= rounds or not good[name]]
        for name in random.sample(names, len(names)):
            try:
                measured = slices[name]()
            except SliceFailed as error:
                say(f"{name}: a slice is left out: {error}")
                continue
            if number > 0:
                good[name].append(measured)
    missing = [name for name, found in good.items() if not found]
    if missing:
        raise RuntimeError(f"no good slice of {', '.join(missing)}")
    return {name: _series(found, max(0, rounds - len(found))) for name, found in good.items()}


def _series(found: list[Measured], failed: int) -> Series:
    ordered = sorted(found, key=_cost)
    middle = ordered[len(ordered) // 2]
    return Series(middle, (_cost(ordered[-1]) - _cost(ordered[0])) / _cost(middle), failed)


def _cost(one: Measured) -> float:
    """Returns the CPU of a request; of a second where there was none."""
    return one.share / max(one.rate, 1.0)

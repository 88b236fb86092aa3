"""Closed-loop submits over many connections, by clients that wait the Retry-After of a refusal.

One gateway with ledger and limits on Redis. The rate at each number of connections is compared with the best.
The rate of 32 connections after the last one shows that the gateway has recovered.
"""

from __future__ import annotations

import asyncio
import re
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle

from bench.processes import Server

CONTENDER = "gateway, ledger on Redis"
COUNTS = (32, 256, 1024, 2048)
SECONDS = 8.0
RECOVERY = 2.0  # seconds after which the full rate is to be reached again

_HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
_RETRY_AFTER = re.compile(rb"\r\nretry-after: (\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Load:
    """Result of one load. Times are in ms. *refused* are 429 and 503, *failed* all other failures.

    *cpu* is the gateway's time in us for each served submit; on a machine that others use it says more than the rate.
    """

    connections: int
    served: float  # a second
    p50: float
    p99: float
    refused: int
    slowest_refusal: float
    failed: int
    cpu: float


@dataclass(slots=True)
class _Outcomes:
    """Outcomes of one load, by all its connections."""

    served: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    failed: int = 0


def measure(server: Server, requests: Sequence[bytes], say: Callable[[str], None]) -> Iterator[Load]:
    """Yields the load at each number of COUNTS, then that of the fewest, RECOVERY seconds later."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    source = cycle(requests)
    for count in COUNTS:
        say(f"{count} connections")
        yield _measure(server, source, count, SECONDS)
    say("recovery")
    time.sleep(RECOVERY)
    yield _measure(server, source, COUNTS[0], SECONDS)


def table(loads: Sequence[Load]) -> str:
    """Returns the loads as text, with each rate in percent of the best one."""
    peak = max(load.served for load in loads)
    lines = ["connections  served/s     %   p50 ms   p99 ms  refused  slowest refusal ms  failed   cpu us"]
    for load in loads:
        share = 100 * load.served / peak
        lines.append(
            f"{load.connections:11}{load.served:10.0f}{share:6.0f}{load.p50:9.0f}{load.p99:9.0f}"
            f"{load.refused:9}{load.slowest_refusal:20.0f}{load.failed:8}{load.cpu:9.0f}"
        )
    return "\n".join(lines)


def _measure(server: Server, source: Iterator[bytes], count: int, seconds: float) -> Load:
    cpu = server.cpu()
    outcomes = asyncio.run(_load(server.port, source, count, seconds))
    used = (server.cpu() - cpu).scheduled / 1000
    served = sorted(outcomes.served)
    return Load(
        connections=count,
        served=len(served) / seconds,
        p50=1000 * _quantile(served, 0.5),
        p99=1000 * _quantile(served, 0.99),
        refused=len(outcomes.refused),
        slowest_refusal=1000 * max(outcomes.refused, default=0.0),
        failed=outcomes.failed,
        cpu=used / max(1, len(served)),
    )


async def _load(port: int, source: Iterator[bytes], count: int, seconds: float) -> _Outcomes:
    outcomes = _Outcomes()
    clients = [asyncio.create_task(_client(port, source, outcomes)) for _ in range(count)]
    await asyncio.sleep(seconds)
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    return outcomes


async def _client(port: int, source: Iterator[bytes], outcomes: _Outcomes) -> None:
    """Sends one request after another over one connection until it is cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                while True:
                    started = loop.time()
                    writer.write(next(source))
                    head = await reader.readuntil(b"\r\n\r\n")
                    await reader.readexactly(_number(_LENGTH, head, 0))
                    await _note(head, loop.time() - started, outcomes)
            finally:
                writer.close()
        except (OSError, asyncio.IncompleteReadError):
            outcomes.failed += 1
            await asyncio.sleep(0.1)


async def _note(head: bytes, seconds: float, outcomes: _Outcomes) -> None:
    status = _number(_HEAD, head, 0)
    if status == 200:
        outcomes.served.append(seconds)
    elif status in (429, 503):
        outcomes.refused.append(seconds)
        await asyncio.sleep(_number(_RETRY_AFTER, head, 1))
    else:
        outcomes.failed += 1


def _number(pattern: re.Pattern[bytes], head: bytes, default: int) -> int:
    match = pattern.search(head)
    return default if match is None else int(match[1])


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[int(share * (len(ordered) - 1))] if ordered else 0.0

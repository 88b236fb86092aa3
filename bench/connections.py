"""Closed-loop submits over many connections, by clients that wait the Retry-After of a refusal.

One gateway with ledger and limits on Redis has a core of its own; clients, upstream and store share the other one. The
rate at each number of connections is compared with the best. The rate of 32 connections after the last one, compared
with that before, shows whether the gateway has recovered. A refusal is timed in the client, from the write of the
request to the read of the answer. That includes the lateness of the client's own loop, which is given too.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle

from bench.closed_loop import drive
from bench.processes import Server

CONTENDER = "gateway, ledger on Redis"
COUNTS = (32, 256, 1024, 2048)
SECONDS = 8.0
WARM_UP = 4.0  # seconds
RECOVERY = 2.0  # seconds after which the full rate is to be reached again


@dataclass(frozen=True, slots=True)
class Load:
    """Result of one load. Times are in ms. *refused* are 429 and 503, *failed* all other failures.

    *cpu* is the gateway's time in us for each served submit; on a machine that others use it says more than the rate.
    *used* is the share of its core. *lag* and *busy* are the clients' own.
    """

    connections: int
    served: float  # a second
    p50: float
    p99: float
    refused: int
    slowest_refusal: float
    failed: int
    cpu: float
    used: float
    lag: float
    busy: float


def measure(server: Server, requests: Sequence[bytes], say: Callable[[str], None]) -> Iterator[Load]:
    """Yields the load at each number of COUNTS, then that of the fewest, RECOVERY seconds later."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    source = cycle(requests)
    say("warm-up")
    _measure(server, source, COUNTS[0], WARM_UP)
    for count in COUNTS:
        say(f"{count} connections")
        yield _measure(server, source, count, SECONDS)
    say("recovery")
    time.sleep(RECOVERY)
    yield _measure(server, source, COUNTS[0], SECONDS)


def table(loads: Sequence[Load]) -> str:
    """Returns the loads as text, with each rate in percent of the best one."""
    peak = max(load.served for load in loads)
    lines = [
        "connections  served/s     %   p50 ms   p99 ms  refused  slowest refusal ms  failed   cpu us"
        "  core %  clients: lag ms  core %"
    ]
    for load in loads:
        share = 100 * load.served / peak
        lines.append(
            f"{load.connections:11}{load.served:10.0f}{share:6.0f}{load.p50:9.0f}{load.p99:9.0f}"
            f"{load.refused:9}{load.slowest_refusal:20.0f}{load.failed:8}{load.cpu:9.0f}"
            f"{100 * load.used:8.0f}{load.lag:17.0f}{100 * load.busy:8.0f}"
        )
    lines.append(f"recovered to {100 * loads[-1].served / max(loads[0].served, 1e-9):.0f} % of the first load")
    return "\n".join(lines)


def _measure(server: Server, source: Iterator[bytes], count: int, seconds: float) -> Load:
    cpu = server.cpu()
    outcomes = drive(server.port, source, count, seconds)
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
        used=used / seconds / 1e6,
        lag=1000 * outcomes.lag,
        busy=outcomes.busy,
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[int(share * (len(ordered) - 1))] if ordered else 0.0

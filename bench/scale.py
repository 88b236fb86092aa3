"""One worker and two, with the limits on Redis.

No process is pinned: load, upstream and store share the cores.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.load import drive
from bench.rig import Rig
from bench.roster import PER_USER, Cell, gateway
from bench.workload import Requests

WORKERS = (1, 2)
SECONDS = 2


@dataclass(frozen=True, slots=True)
class Scaled:
    """Figures of several workers: *cpu* in us a request of all together, *peak* in MB of all."""

    workers: int
    round: int
    kind: str
    rps: float
    cpu: float
    p99: float
    peak: float
    failed: int = 0


def available() -> bool:
    """Returns True where `serve` of this version has workers."""
    command = [str(Path(sys.executable).with_name("fal-proxy")), "serve", "--help"]
    return "--workers" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def scale(
    rig: Rig, requests: Mapping[Cell | str, Requests], *, count: int, cores: range, say: Callable[[str], None]
) -> Iterator[Scaled]:
    """Yields the rates of several workers. The last phase: upstream and store stay unpinned after it."""
    for server in (rig.upstream, rig.store):
        server.pin(cores)
    for number in range(1, count + 1):
        for workers in WORKERS:
            say(f"scale, round {number} of {count}: {workers} worker(s)")
            server = gateway(f"gateway-{workers}-workers", store="redis", workers=workers, cores=cores)(rig)
            try:
                drive(server.port, requests["poll", "per-user"], seconds=1, cores=cores)
                for cell in PER_USER:
                    cpu = server.cpu()
                    run = drive(server.port, requests[cell], seconds=SECONDS, cores=cores)
                    served = run.requests - run.errors
                    if served <= 0:
                        raise RuntimeError(f"{workers} workers: {run.errors} requests failed")
                    used = (server.cpu() - cpu).scheduled / run.requests / 1000
                    yield Scaled(
                        workers, number, cell[0], served / run.seconds, used, run.p99, server.peak(), run.errors
                    )
            finally:
                server.stop()

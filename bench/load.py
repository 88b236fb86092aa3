"""Closed-loop load: wrk with prebuilt requests, as fast as the contender answers."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from bench.processes import OTHER_CORE
from bench.workload import Requests

CONNECTIONS = 32
_SCRIPT = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True, slots=True)
class Run:
    """Result of a load. *p50* and *p99* are in ms. *errors* are socket errors and answers from 400 on."""

    requests: int
    seconds: float
    p50: float
    p99: float
    errors: int


def drive(port: int, requests: Requests, *, seconds: int, cores: Collection[int] = (OTHER_CORE,)) -> Run:
    """Raises RuntimeError where wrk itself fails."""
    load = ("wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "5s", "-s", str(_SCRIPT))
    done = subprocess.run(
        [*load, f"http://127.0.0.1:{port}", "--", str(requests.path), str(requests.at)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    last_line = done.stderr.strip().splitlines()[-1:] or [""]
    if done.returncode or not last_line[0].startswith("{"):
        raise RuntimeError(f"wrk failed: {done.stdout[-500:]} {done.stderr[-500:]}")
    run = Run(**json.loads(last_line[0]))
    requests.advance(run.requests)
    return run

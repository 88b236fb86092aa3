"""Instructions of one request, counted by valgrind: `python -m bench instructions`.

A machine that others use moves CPU time by a tenth from one minute to the next. The number of instructions moves by a
hundredth. It leaves out the kernel and what a cache miss costs. The present code is counted beside the last release,
with the configuration and the requests of `bench check`. Requests come one after another over one connection. What
an idle server spends on its timers in the same time is subtracted: under valgrind all takes 50 times as long.
ONLY in the environment names one of the two; KEEP is a folder for the profiles, which `callgrind_annotate` reads.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import last_release
from bench.checks import handles
from bench.figures import GATEWAY
from bench.http1 import ask, connect
from bench.processes import Server
from bench.rig import CONTENDERS, Rig, rig
from bench.roster import ALL, FAL_PROXY, Cell, gateway
from bench.workload import Tokens, write

WARM = 300  # requests, so that the interpreter has specialised its code and caches are full
COUNTED = 200
IDLE = 3.0  # seconds
_TOTAL = re.compile(r"^(?:totals|summary): (\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Count:
    """Instructions of one request of *cell* at *contender*, the mean of COUNTED."""

    contender: str
    cell: Cell
    instructions: float


def main(_: Sequence[str]) -> int:
    """Counts both contenders. Returns 1 where valgrind is missing."""
    if shutil.which("callgrind_control") is None:
        print("callgrind_control is missing: install valgrind", file=sys.stderr)
        return 1
    with ExitStack() as stack:
        ground = stack.enter_context(rig())
        print(table([count for name in _names() for count in measure(ground, name)]))
    return 0


def measure(ground: Rig, name: str) -> Iterator[Count]:
    """Yields the counts of all cells of the contender *name*, which is started for them and stopped."""
    profiles = Path(os.environ.get("KEEP", ground.home), name.replace(" ", "-"))
    profiles.mkdir(parents=True, exist_ok=True)
    program, contenders = last_release.installed() if name == last_release.NAME else (FAL_PROXY, CONTENDERS)
    server = gateway(name, program=_counted(program, profiles), contenders=contenders)(ground)
    try:
        tokens = Tokens(ground.secret)
        requests = write(ground, tokens, handles(server.port, tokens), name)
        with _counting(server) as idle:
            time.sleep(IDLE)
        timers = _dumped(server, profiles, "idle") / idle()
        for cell in ALL:
            with connect(server.port) as connection:
                connection.settimeout(60)
                for request in requests[cell].take(WARM):
                    ask(connection, request)
                with _counting(server) as seconds:
                    for request in requests[cell].take(COUNTED):
                        ask(connection, request)
            counted = _dumped(server, profiles, "-".join(cell)) - timers * seconds()
            yield Count(name, cell, counted / COUNTED)
    finally:
        server.stop()


def table(counts: list[Count]) -> str:
    """Returns the counts as text, with the ratio to the last release where both were counted."""
    last = {count.cell: count.instructions for count in counts if count.contender == last_release.NAME}
    lines = []
    for count in counts:
        ratio = f"{count.instructions / last[count.cell]:8.3f}" if count.cell in last else ""
        lines.append(f"{count.contender:14}{', '.join(count.cell):20}{count.instructions:12,.0f}{ratio}")
    return "\n".join(lines)


def _names() -> list[str]:
    only = os.environ.get("ONLY")
    return [only] if only else [last_release.NAME, GATEWAY]


def _counted(program: Path, folder: Path) -> Path:
    """Returns a command that runs *program* under callgrind, which counts nothing until it is switched on."""
    wrapper = folder / "counted"
    options = f"--tool=callgrind --instr-atstart=no --callgrind-out-file={folder}/out"
    wrapper.write_text(f'#!/bin/sh\nexec valgrind {options} {program.with_name("python")} {program} "$@"\n')
    wrapper.chmod(0o755)
    return wrapper


def _dumped(server: Server, folder: Path, name: str) -> int:
    """Writes the profile as *name* in *folder*, and returns its instructions."""
    before = set(folder.glob("out.*"))
    _control(server, "--dump")
    (dump,) = set(folder.glob("out.*")) - before
    path = dump.rename(folder / name)
    found = _TOTAL.findall(path.read_text(errors="replace"))
    return int(found[-1])


@contextmanager
def _counting(server: Server) -> Iterator[Callable[[], float]]:
    """Counts instructions in the block; yields a function that returns how many seconds were counted."""
    _control(server, "--instr=on")
    started = time.monotonic()
    yield lambda: ended - started
    _control(server, "--instr=off")
    ended = time.monotonic()


def _control(server: Server, option: str) -> None:
    subprocess.run(["callgrind_control", option, str(server.pid)], check=True, stdout=subprocess.DEVNULL)

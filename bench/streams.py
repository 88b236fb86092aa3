"""Status streams held open for minutes: `python -m bench.streams --streams 300 --seconds 300`.

What is played is the tests' own (`tests/live/test_streams_steady.py`); this only does it for longer and tells the
figures. Status 1 where anything has grown.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from live.test_streams_steady import Held, hold

SLACK = 4.0  # MB


async def main(arguments: argparse.Namespace) -> bool:
    with tempfile.TemporaryDirectory(prefix="fal-proxy-streams-") as home:
        run = await hold(Path(home), streams=arguments.streams, seconds=arguments.seconds)
    first, last = run.samples[0], run.samples[-1]
    for name, sample in (("before", run.before), ("first", first), ("last", last), ("after", run.after)):
        print(
            f"{name:6} {sample.resident:6.1f} MB  {sample.descriptors:5} descriptors  "
            f"{sample.tasks:5} tasks  {sample.open:5} streams"
        )
    counts = [heard for heard in run.heard if heard]
    print(f"{sum(counts)} events to {len(counts)} callers, {run.late * 1000:.1f} ms the latest; {_growth(run):+.2f} MB")
    tasks = {sample.tasks for sample in run.samples}
    return _growth(run) < SLACK and len(tasks) == 1 and abs(last.descriptors - first.descriptors) <= 1


def _growth(run: Held) -> float:
    return run.samples[-1].resident - run.samples[0].resident


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.streams")
    parser.add_argument("--streams", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=300)
    sys.exit(0 if asyncio.run(main(parser.parse_args())) else 1)

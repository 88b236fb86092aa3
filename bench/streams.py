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
        held = await hold(Path(home), streams=arguments.streams, seconds=arguments.seconds)
    first, last = held.samples[0], held.samples[-1]
    for name, sample in (("before", held.before), ("first", first), ("last", last), ("after", held.after)):
        print(
            f"{name:6} {sample.resident:6.1f} MB  {sample.descriptors:5} descriptors  "
            f"{sample.tasks:5} tasks  {sample.open:5} streams"
        )
    told = [heard for heard in held.heard if heard]
    print(f"{sum(told)} events to {len(told)} callers, {held.late * 1000:.1f} ms the latest; {_growth(held):+.2f} MB")
    tasks = {sample.tasks for sample in held.samples}
    return _growth(held) < SLACK and len(tasks) == 1 and abs(last.descriptors - first.descriptors) <= 1


def _growth(held: Held) -> float:
    return held.samples[-1].resident - held.samples[0].resident


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.streams")
    parser.add_argument("--streams", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=300)
    sys.exit(0 if asyncio.run(main(parser.parse_args())) else 1)

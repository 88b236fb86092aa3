"""Two workers under a modest load with faults for long: `python -m bench soak`.

Valkey, nginx as shipped, the sandbox with 1 % faults; the clients break off 5 % of their requests. Status 1 where
memory, descriptors or tasks grow after the warm-up. So too where a key of Redis or a reservation stays without
a reason.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression, median

from redis.asyncio import Redis

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.budgets import FAL_KEY, Rig, Tables, money
from support.front_proxies import free_port
from support.shipped_fronts import nginx, places

from proxy.sandbox.faults import Fault, Kind
from proxy.sandbox.settings import SandboxSettings

EVERY = 10.0  # seconds between two samples
WARM = 0.25  # share of the time
MOST_GROWTH = 1.0  # MiB of a worker in 10 minutes
SLACK, SHARE = 5, 0.1  # descriptors or tasks that the median may rise by, at least and as a share
SETTLED = 240.0  # seconds after the load until the reconciler has looked at each job that was left
_SANDBOX = SandboxSettings(
    keys=frozenset({FAL_KEY}), queue_seconds=0.1, run_seconds=0.3, concurrency=1000, log_entries=100
)
_FAULTS = (
    Fault(Kind.RESET, "submit", probability=0.005, after=True),  # the job runs, and the outcome is unknown
    Fault(Kind.STATUS, "submit", probability=0.005, status=503),
    Fault(Kind.RESET, "status", probability=0.005),
    Fault(Kind.STATUS, "status", probability=0.005, status=500),
    Fault(Kind.TRUNCATE, "status-stream", probability=0.01),
    Fault(Kind.RESET, "result", probability=0.01),
    Fault(Kind.STATUS, "model", probability=0.01),
)
_BUDGETS: Tables = (
    {"name": "daily", "per": "user", "window": "day", "limit": 1_000_000},
    {"name": "ever", "per": "user", "window": "lifetime", "limit": 1_000_000},
)
_SLOTS: Tables = ({"name": "mine", "per": "user", "limit": 1000},)
_LEDGER = "fal-proxy:{ledger}:"
_ENDLESS = ("epoch", "schema", "key:privacy", "credit:", "credits", "blocked", "spent:ever:")  # by intent
_GONE = -2  # the reply of TTL for a key that has ended meanwhile
_LONGEST = 2 * 366 * 86_400  # seconds; some keys, as of a lifetime budget, end in a hundred years, which is never


@dataclass(frozen=True, slots=True)
class Sample:
    """Memory in MiB and descriptors of each worker, and the tasks of all, *at* seconds."""

    at: float
    resident: tuple[float, ...]
    descriptors: tuple[int, ...]
    tasks: int


@dataclass(frozen=True, slots=True)
class Left:
    """A reservation that is still open, and why."""

    id: str
    endpoint: str
    reason: str
    expected: bool


def main(arguments: Sequence[str]) -> int:
    """Runs the load and prints the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench soak")
    parser.add_argument("--minutes", type=float, default=20.0, help="short runs show that it works; they are warm-up")
    parser.add_argument("--rate", type=float, default=40.0, help="requests a second")
    parsed = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="fal-proxy-soak-") as home:
        return 0 if asyncio.run(_play(Path(home), 60 * parsed.minutes, parsed.rate)) else 1


async def _play(home: Path, seconds: float, rate: float) -> bool:
    async with money(home, "redis", sandbox=_SANDBOX, endpoints=2, budgets=_BUDGETS, in_flight=_SLOTS) as rig:
        rig.upstream.fail(*_FAULTS)
        gateway = "127.0.0.1", int(rig.gateway.url.rpartition(":")[2])
        with nginx(places(home, free_port(), [gateway])) as (_, port):
            workers = rig.gateway.workers()
            async with _load(port, rate) as counts:
                samples = await _record(rig, workers, seconds)
        assert rig.valkey is not None
        async with Redis(port=rig.valkey.port, decode_responses=True) as redis:
            good = [_print_load(counts, seconds), rig.gateway.workers() == workers]
            good += _print_growth(samples)
            await _settled(redis)
            good += [await _print_endless(redis), _print_left(await _left(redis, rig))]
    print("ok" if all(good) else "MISSED")
    return all(good)


@asynccontextmanager
async def _load(port: int, rate: float) -> AsyncIterator[Counter[str]]:
    """Runs the visits in another process until the end of the block; the counts are filled after it."""
    command = (sys.executable, "-m", "bench.visits", str(port), str(rate))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, cwd=Path(__file__).parents[1])
    counts: Counter[str] = Counter()
    try:
        yield counts
        printed, _ = await process.communicate(b"")  # without an input it would not be closed
        counts.update(json.loads(printed))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _record(rig: Rig, workers: Sequence[int], seconds: float) -> list[Sample]:
    samples: list[Sample] = []
    begun = time.monotonic()
    while (at := time.monotonic() - begun) < seconds:
        tasks = int(await rig.gateway.metric("fal_proxy_tasks"))
        one = Sample(at, tuple(map(_resident, workers)), tuple(map(_descriptors, workers)), tasks)
        memory = ", ".join(f"{size:.1f}" for size in one.resident)
        print(f"{at:6.0f} s  {memory} MiB  {one.descriptors} descriptors  {tasks} tasks", file=sys.stderr, flush=True)
        samples.append(one)
        await asyncio.sleep(max(0.0, begun + EVERY * len(samples) - time.monotonic()))
    return samples


def _resident(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _print_load(counts: Counter[str], seconds: float) -> bool:
    print(f"{counts.total()} requests, {counts.total() / seconds:.1f} a second")
    print(*(f"  {name}: {count}" for name, count in sorted(counts.items())), sep="\n")
    return counts["submit 200"] > 0


def _print_growth(samples: Sequence[Sample]) -> list[bool]:
    """Prints what grew after the warm-up, and returns whether each is within its limit."""
    warm = samples[int(len(samples) * WARM) :]
    good = []
    for number in range(len(warm[0].resident)):
        slope = 600 * linear_regression([s.at for s in warm], [s.resident[number] for s in warm]).slope
        good.append(slope < MOST_GROWTH)
        sizes = [s.resident[number] for s in warm]
        print(
            f"worker {number + 1}: {slope:+.2f} MiB in 10 minutes (limit {MOST_GROWTH:g}), "
            f"{min(sizes):.1f} to {max(sizes):.1f} MiB: {_verdict(good[-1])}"
        )
        good.append(_is_flat(f"worker {number + 1}, descriptors", [s.descriptors[number] for s in warm]))
    return [*good, _is_flat("tasks of both", [s.tasks for s in warm])]


def _is_flat(name: str, values: Sequence[int]) -> bool:
    """Compares the medians of the first and the last third."""
    third = max(1, len(values) // 3)
    first, last = median(values[:third]), median(values[-third:])
    good = last - first <= max(SLACK, SHARE * first)
    print(f"{name}: {min(values)} to {max(values)}, median {first:g} then {last:g}: {_verdict(good)}")
    return good


async def _settled(redis: Redis) -> None:
    """Waits until no open job is left to look at, SETTLED seconds at most."""
    deadline = time.monotonic() + SETTLED
    while await redis.zcard(f"{_LEDGER}look") and time.monotonic() < deadline:  # noqa: ASYNC110 other processes end them
        await asyncio.sleep(1)


async def _print_endless(redis: Redis) -> bool:
    """Prints the kinds of keys without an end, and each that should have one."""
    kinds: Counter[str] = Counter()
    wrong = []
    async for raw in redis.scan_iter(count=1000):
        key = str(raw)
        left = await redis.ttl(key)
        if left == _GONE or 0 <= left < _LONGEST:
            continue
        name = key.rpartition(_LEDGER)[2]
        kinds[name if name == "key:privacy" else name.partition(":")[0]] += 1
        if not name.startswith(_ENDLESS):
            wrong.append(key)
    print(f"{await redis.dbsize()} keys; without an end by intent: {dict(kinds)}; and wrongly: {len(wrong)}", *wrong)
    return not wrong


async def _left(redis: Redis, rig: Rig) -> list[Left]:
    lines = rig.gateway.journal("request")
    unknown = {line["request_id"] for line in lines if line.get("outcome") == "unknown"}
    found = []
    async for raw in redis.scan_iter(match=f"{_LEDGER}call:*", count=1000):
        call = {str(name): str(value) for name, value in (await redis.hgetall(raw)).items()}
        if call.get("open") != "1":
            continue
        name = str(raw).rpartition("call:")[2]
        expected = "job" not in call and name in unknown
        reason = "unknown outcome" if expected else f"job {call['job']}" if "job" in call else "none in the journal"
        found.append(Left(name, call["endpoint"], reason, expected))
    print(f"{len(unknown)} submits of unknown outcome in the journal, {len(found)} reservations left")
    return found


def _print_left(found: Sequence[Left]) -> bool:
    print(*(f"  {one.id} {one.endpoint}: {one.reason}" for one in found), sep="\n")
    return all(one.expected for one in found)


def _verdict(good: bool) -> str:
    return "ok" if good else "MISSED"

"""Long runs of the end-to-end money tests, for both stores.

Run as `python -m bench.money --rounds 20 --kills 60 --faults 500`.

Scenarios and conditions are those of the tests; this module repeats them and prints figures. Status 1 where
anything did not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import get_args

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from live.test_money_burst import CALLERS, ROOM, burst, rooms
from live.test_money_faults import matrix, storm
from support.budgets import UNITS, StoreKind, money
from unit.billing.ledger.test_sqlite_ledger import kill_at_random

SEED = 4


async def rounds(home: Path, store: StoreKind, count: int) -> bool:
    """Sends *count* bursts of CALLERS at budgets with room for ROOM."""
    sound = True
    async with money(home, store, endpoints=count, budgets=rooms(count, jobs=ROOM)) as rig:
        for number in range(count):
            one = await burst(rig, number, callers=CALLERS)
            good = (one.accepted + one.late, one.jobs, one.units) == (ROOM, ROOM, round(ROOM * UNITS, 6))
            good = good and one.accepted + one.spent == CALLERS
            print(f"{store} round {number + 1:2}: {'good' if good else 'BROKEN'} {one}", flush=True)
            sound = sound and good
    return sound


async def troubles(home: Path, store: StoreKind, count: int) -> bool:
    """Sends *count* single submits through every fault in turn."""
    async with money(home, store, endpoints=count, submit_seconds=1) as rig:
        cases = await matrix(rig, count)
    broken = [case for case in cases if not case.is_sound]
    jobs, accepted = sum(case.jobs for case in cases), sum(case.status == 200 for case in cases)
    ran = sum(case.status == 504 and case.trouble.runs for case in cases)
    print(f"{store}: {count} submits, {jobs} jobs = {accepted} accepted + {ran} unknown that ran; {len(broken)} broken")
    print("  told:", dict(sorted(Counter(case.status for case in cases).items())), *broken, sep="\n  ")
    return not broken and jobs == accepted + ran


async def storms(home: Path, store: StoreKind, count: int) -> bool:
    """Sends *count* keys of the stock client through random faults, kills, pauses and refusals."""
    async with money(home, store, endpoints=count, submit_seconds=1) as rig:
        seen = await storm(rig, count, seed=SEED)
    broken = [fate for fate in seen.fates if not fate.is_sound]
    jobs, with_handle = sum(fate.jobs for fate in seen.fates), sum(bool(fate.handles) for fate in seen.fates)
    ran = sum(fate.jobs for fate in seen.fates if not fate.handles)
    statuses = Counter(status for fate in seen.fates for status in fate.statuses)
    print(
        f"{store}: {count} keys, {statuses.total()} submits, {seen.attempts} requests; struck {dict(seen.struck)}; "
        f"{jobs} jobs = {with_handle} accepted + {ran} unknown that ran; "
        f"at most {max(fate.jobs for fate in seen.fates)} a key; "
        f"{sum(round(fate.units / UNITS) for fate in seen.fates)} paid; {len(broken)} broken"
    )
    print("  told:", dict(sorted(statuses.items())), *broken, sep="\n  ")
    return not broken and jobs == with_handle + ran


async def kills(count: int) -> bool:
    """Kills a process with a ledger in a file *count* times under load, and checks each file."""
    reserved = accepted = 0
    for seed in range(count):
        with tempfile.TemporaryDirectory(prefix="fal-proxy-money-") as home:
            acknowledged = await kill_at_random(Path(home) / "ledger.db", seed)
        reserved, accepted = reserved + acknowledged[0], accepted + acknowledged[1]
    print(
        f"sqlite: {count} kill -9, {reserved} acknowledged reservations and {accepted} acceptances; none lost, none "
        "doubled, and each reservation is charged or reserved"
    )
    return True


async def main(arguments: argparse.Namespace) -> bool:
    plays: list[tuple[Callable[[Path, StoreKind, int], Awaitable[bool]], int]] = [
        (rounds, arguments.rounds),
        (troubles, arguments.faults),
        (storms, arguments.faults),
    ]
    sound = await kills(arguments.kills) if arguments.kills else True
    for play, count in plays:
        for store in get_args(StoreKind) if count else ():
            begun = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="fal-proxy-money-") as home:
                sound = await play(Path(home), store, count) and sound
            print(f"{store}: {play.__name__} took {time.monotonic() - begun:.0f} s", flush=True)
    return sound


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.money")
    parser.add_argument("--rounds", type=int, default=0, help="bursts at each store")
    parser.add_argument("--kills", type=int, default=0, help="kills of a process with a ledger in a file")
    parser.add_argument("--faults", type=int, default=0, help="submits through troubles, and keys through storms")
    sys.exit(0 if asyncio.run(main(parser.parse_args())) else 1)

"""fal locks our account under 200 callers with the stock clients: `python -m bench locked`.

Each worker may send what was under way when its first refusal arrived, and nothing after that. Status 1 where a later
submit reached fal, or where the gateway did not go on within a minute of the unlock.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from starlette.types import ASGIApp

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.budgets import RESTING, Rig, StoreKind, eventually, money
from support.submit_recorder import SubmitRecorder

from bench.clicks import Clicks, clicking, front
from proxy.sandbox.faults import Fault, Kind

RECOVERY = 60.0  # seconds after the unlock within which submits must be accepted again
PAUSE = 1.0  # seconds of a caller between an answer and the next click


def main(arguments: Sequence[str]) -> int:
    """Locks the account for a while, and prints what reached fal."""
    parser = argparse.ArgumentParser(prog="python -m bench locked")
    parser.add_argument("--store", choices=get_args(StoreKind), default="redis", help="redis: two workers")
    parser.add_argument("--callers", type=int, default=200, help="half of them with each client")
    parser.add_argument("--seconds", type=float, default=60.0)
    parsed = parser.parse_args(arguments)
    return 0 if asyncio.run(_run(parsed.store, parsed.callers, parsed.seconds)) else 1


async def _run(store: StoreKind, callers: int, seconds: float) -> bool:
    with tempfile.TemporaryDirectory(prefix="fal-proxy-locked-") as home:
        recorders: list[SubmitRecorder] = []

        def recorded(app: ASGIApp) -> ASGIApp:
            recorders.append(SubmitRecorder(app))
            return recorders[0]

        async with money(Path(home), store, sandbox=RESTING, wrap=recorded) as rig:
            with front(Path(home) / "nginx", rig) as ports:
                async with clicking(ports, callers=callers // 2, pause=PAUSE, hands=0) as clicks:
                    return await _lock(rig, clicks, recorders[0], callers, seconds)


async def _lock(rig: Rig, clicks: Clicks, recorder: SubmitRecorder, callers: int, seconds: float) -> bool:
    await _ended(clicks, callers)
    before = Counter(clicks.statuses())
    rig.upstream.fail(Fault(kind=Kind.LOCKED))
    await _refused(recorder)
    first = min(submit.answered for submit in recorder.submits if submit.status == 403)
    await asyncio.sleep(seconds)
    rig.upstream.fail()
    unlocked, during = time.time(), Counter(clicks.statuses())
    await _accepted(recorder, unlocked)
    recovery = next(submit.arrived for submit in recorder.submits if submit.arrived > unlocked) - unlocked
    await _ended(clicks, len(clicks.ended) + callers)
    pauses = [line for line in rig.gateway.journal("upstream_account") if line["state"] == "paused"]
    refused = [submit for submit in recorder.submits if submit.status == 403]
    last_pause = first if len(pauses) < 2 else max(submit.arrived for submit in refused)
    late = [submit.arrived - first for submit in recorder.submits if first < submit.arrived < unlocked]
    print(
        f"{callers} callers: {sum((during - before).values())} clicks ended in {seconds:.0f} s of a locked account "
        f"({_by_status(during - before)})\n"
        f"{len(refused)} submits reached fal and were refused, {len(late)} of them arrived after the first refusal "
        f"had been sent ({', '.join(f'{1000 * one:.0f} ms' for one in sorted(late)[:20]) or 'none'}); "
        f"{len(pauses)} pauses of {len(rig.gateway.workers())} workers, the last submit "
        f"{1000 * (last_pause - first):.0f} ms after the first refusal\n"
        f"the first submit reached fal {recovery:.1f} s after the unlock; then "
        f"{_by_status(Counter(clicks.statuses()) - during)}"
    )
    return recovery <= RECOVERY and len(pauses) <= len(rig.gateway.workers())


async def _ended(clicks: Clicks, count: int) -> None:
    async def ended() -> int:
        return len(clicks.ended)

    await eventually(ended, lambda seen: seen >= count)


async def _refused(recorder: SubmitRecorder) -> None:
    async def refused() -> bool:
        return any(submit.status == 403 and submit.answered for submit in recorder.submits)

    await eventually(refused, bool)


async def _accepted(recorder: SubmitRecorder, after: float) -> None:
    async def accepted() -> bool:
        return any(submit.arrived > after and submit.status == 200 for submit in recorder.submits)

    await eventually(accepted, bool)


def _by_status(statuses: Counter[int]) -> str:
    return ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items())) or "none"

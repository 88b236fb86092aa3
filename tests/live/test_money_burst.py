"""Many callers at once against a budget that few of them fit in, over real sockets and real stores."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.budgets import UNITS, Rig, Sent, StoreKind, Table, endpoint, eventually, money, token

CALLERS, ROOM = 200, 37


def rooms(count: int, *, jobs: int) -> list[Table]:
    """Returns a budget for each endpoint, with room for *jobs* jobs by all users together."""
    return [
        {"name": f"room-{n}", "per": "global", "window": "day", "endpoints": [endpoint(n)], "limit": jobs * UNITS}
        for n in range(count)
    ]


@dataclass(frozen=True, slots=True)
class Burst:
    """Result of a burst: *accepted* at once, and *late*, after refunds of calls to a slow store.

    *spent* were refused with 402. *jobs* as the sandbox counts them, *units* as the operator's report does, in units.
    """

    accepted: int
    late: int
    spent: int
    jobs: int
    units: float
    slowest: float


async def burst(rig: Rig, number: int, *, callers: int) -> Burst:
    """Submits for *callers* users to `endpoint(number)` at once, against the budget `room-number`."""
    name, sessions = endpoint(number), [token(f"user-{n}") for n in range(callers)]
    barrier = asyncio.Barrier(callers)
    async with rig.caller() as crowd:

        async def call(session: str) -> Sent:
            await crowd.get("/healthz")  # the connection is there before the barrier falls
            await barrier.wait()
            return await crowd.submit(name, session=session)

        sent = await asyncio.gather(*map(call, sessions))
        accepted = sum(one.status == 200 for one in sent)
        await eventually(lambda: crowd.units(f"room-{number}"), lambda units: units == round(accepted * UNITS, 6))
        late = 0
        while (await crowd.submit(name)).status == 200:
            late += 1
    row = (await rig.usage())[name]
    return Burst(
        accepted=accepted,
        late=late,
        spent=sum(one.status == 402 for one in sent),
        jobs=rig.upstream.jobs().get(name, 0),
        units=row["reserved"] + row["used"],
        slowest=max(one.seconds for one in sent),
    )


@pytest.mark.parametrize("store", ["redis", "sqlite"])
async def test_200_callers_at_once_get_the_37_jobs_there_is_room_for(tmp_path: Path, store: StoreKind) -> None:
    """Callers beyond the room are refused.

    The sandbox, the operator's report and the caller's usage agree to the last millionth.
    """
    async with money(tmp_path, store, endpoints=2, budgets=rooms(2, jobs=ROOM)) as rig:
        rounds = [await burst(rig, number, callers=CALLERS) for number in range(2)]
        served = await rig.gateway.metric("fal_proxy_requests_total")

    for one in rounds:
        assert (one.accepted + one.late, one.accepted + one.spent) == (ROOM, CALLERS)
        assert (one.jobs, one.units) == (ROOM, round(ROOM * UNITS, 6))
    assert served >= 2 * 2 * CALLERS, "the metrics are of all workers: a page and a submit of each caller in each round"

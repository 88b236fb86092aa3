"""Tests of the figures for callers and the operator, and of a restart."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.budgets import QUICK, Rig, StoreKind, caller_digest, endpoint, eventually, money

from proxy.sandbox.faults import Fault, Kind

DAILY = {"name": "daily", "per": "user", "window": "24h", "limit": 1}
JOBS = {"name": "jobs", "per": "user", "limit": 3}
ONE_AT_A_TIME = replace(QUICK, concurrency=1)
FAILING, STUCK = Fault(Kind.STATUS, "model"), Fault(Kind.HANG, "model")


@asynccontextmanager
async def a_day_of_two_users(home: Path, store: StoreKind) -> AsyncIterator[Rig]:
    """Runs jobs of two users.

    alice: 0.1 done, 0.2 failed, 0.3 running, 0.4 cancelled, 0.8 refused. bob: 0.5 waiting, at another endpoint.
    """
    async with (
        money(home, store, endpoints=2, sandbox=ONE_AT_A_TIME, budgets=[DAILY], in_flight=[JOBS]) as rig,
        rig.caller("alice") as alice,
        rig.caller("bob") as bob,
    ):
        for images, faults in ((1, ()), (2, (FAILING,))):
            rig.upstream.fail(*faults)
            job = (await alice.submit(endpoint(0), num_images=images)).job
            await eventually(lambda: alice.poll(job), lambda sent: sent.status == 200)  # noqa: B023 called at once
        rig.upstream.fail(STUCK)
        await alice.submit(endpoint(0), num_images=3)
        cancelled = await alice.cancel((await alice.submit(endpoint(0), num_images=4)).job)
        refused = await alice.submit(endpoint(0), num_images=8)
        await bob.submit(endpoint(1), num_images=5)

        assert (cancelled.status, refused.status) == (200, 402)
        yield rig


def allowances(usage: dict[str, Any]) -> list[tuple[object, ...]]:
    budgets = [tuple(one[name] for name in ("name", "limit", "used", "reserved", "left")) for one in usage["budgets"]]
    return [*budgets, *(tuple(one[name] for name in ("name", "limit", "used", "left")) for one in usage["in_flight"])]


@pytest.mark.parametrize("store", ["redis", "sqlite"])
async def test_each_is_told_what_happened(tmp_path: Path, store: StoreKind) -> None:
    """A caller reads the own allowances only, the operator all, by user, endpoint and day."""
    alice_spent = {"submits": 4, "used": 0.1, "reserved": 0.3, "refunded": 0.6, "unsettled": 0.0, "overrun": 0.0}
    bob_spent = {"submits": 1, "used": 0.0, "reserved": 0.5, "refunded": 0.0, "unsettled": 0.0, "overrun": 0.0}
    days = {datetime.now(UTC).date().isoformat()}
    usage = {}
    async with a_day_of_two_users(tmp_path, store) as rig:
        for subject in ("alice", "bob", "carol"):
            async with rig.caller(subject) as caller:
                usage[subject] = allowances(await caller.usage())
        by_user, by_endpoint, by_day = await rig.usage("user"), await rig.usage("endpoint"), await rig.usage("day")
        table = [line.split() for line in (await rig.command("--by", "user")).splitlines()]

    days |= {datetime.now(UTC).date().isoformat()}  # should midnight have passed
    assert usage == {
        "alice": [("daily", 1, 0.1, 0.3, 0.6), ("jobs", 3, 1, 2)],
        "bob": [("daily", 1, 0, 0.5, 0.5), ("jobs", 3, 1, 2)],
        "carol": [("daily", 1, 0, 0, 1), ("jobs", 3, 0, 3)],
    }
    assert by_user == {caller_digest("alice"): alice_spent, caller_digest("bob"): bob_spent}
    assert by_endpoint == {endpoint(0): alice_spent, endpoint(1): bob_spent}
    assert by_day.keys() <= days
    assert {name: round(sum(row[name] for row in by_day.values()), 6) for name in alice_spent} == {
        name: round(alice_spent[name] + bob_spent[name], 6) for name in alice_spent
    }
    assert table[0] == ["user", *alice_spent]
    assert {row[0]: [float(cell) for cell in row[1:]] for row in table[1:]} == {
        user: list(row.values()) for user, row in by_user.items()
    }


@pytest.mark.parametrize(
    ("store", "how"),
    [("sqlite", signal.SIGTERM), ("sqlite", signal.SIGKILL), ("redis", signal.SIGTERM)],
    ids=["sqlite-stopped", "sqlite-killed", "redis-stopped"],
)
async def test_a_restart_forgets_nothing(tmp_path: Path, store: StoreKind, how: signal.Signals) -> None:
    """Budgets, slots, keys and handles are as they were: what was paid for is neither lost nor repeated."""
    async with money(tmp_path, store, budgets=[DAILY], in_flight=[JOBS]) as rig:
        async with rig.caller() as alice:
            first = await alice.submit(endpoint(0), key="first")
            await alice.submit(endpoint(0), key="second", num_images=2)
            rig.upstream.fail(Fault(Kind.RESET, "submit", count=1, after=True))
            unknown = await alice.submit(endpoint(0), key="unknown")
            full = await alice.submit(endpoint(0), key="full")
            before, rows = allowances(await alice.usage()), await rig.usage()
        await rig.gateway.stop(how)
        stopped = await rig.usage()
        await rig.gateway.start()
        async with rig.caller() as alice:
            after = allowances(await alice.usage())
            replays = [await alice.submit(endpoint(0), key=key) for key in ("first", "unknown", "full")]
            other = await alice.submit(endpoint(0), key="first", num_images=3)
            polled, cancelled = await alice.poll(first.job), await alice.cancel(first.job)
            seated = await alice.submit(endpoint(0), key="full")
            jobs = rig.upstream.jobs()

    assert (unknown.status, full.status, full.error_type) == (504, 429, "too_many_jobs")
    assert before == after == [("daily", 1, 0, 0.4, 0.6), ("jobs", 3, 3, 0)]
    assert rows == stopped
    assert [(sent.status, sent.is_replayed) for sent in replays] == [(200, True), (504, True), (429, False)]
    assert replays[0].body == first.body
    assert other.status == 422
    assert (polled.status, cancelled.status, seated.status) == (202, 200, 200)
    assert jobs == {endpoint(0): 4}

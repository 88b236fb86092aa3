"""Allowances in observe mode, beside enforced ones."""

from __future__ import annotations

from pathlib import Path

from support.budgets import LIMITS, UNITS, endpoint, money

HOURLY = {"name": "hourly", "per": "user", "actions": ["submit"], "rate": "1/hour", "mode": "observe"}
SOFT = {"name": "soft", "per": "user", "window": "day", "limit": UNITS, "mode": "observe"}
HARD = {"name": "hard", "per": "user", "window": "day", "limit": 2 * UNITS}
JOBS = {"name": "jobs", "per": "user", "limit": 1, "mode": "observe"}


async def test_an_observed_allowance_only_tells(tmp_path: Path) -> None:
    """The answer's header and the journal name all that would have refused.

    Counted and charged it is all the same.
    """
    async with money(tmp_path, "redis", limits=[*LIMITS, HOURLY], budgets=[SOFT, HARD], in_flight=[JOBS]) as rig:
        async with rig.caller() as caller:
            sent = [await caller.submit(endpoint(0)) for _ in range(3)]
            usage = await caller.usage()
        await rig.gateway.until_printed(lambda text: text.count('"action":"submit"') >= len(sent))
        jobs, lines = rig.upstream.jobs(), rig.gateway.journal("request")

    short = [None, "hourly, soft, jobs", None]
    assert [one.status for one in sent] == [200, 200, 402]
    assert sent[2].body["budget"]["name"] == "hard"
    assert [one.headers.get("would-deny") for one in sent] == short
    assert [
        line.get("would_deny") for line in lines if line["status"] in (200, 402) and line["action"] == "submit"
    ] == short
    assert [(one["name"], one["reserved"], one["left"]) for one in usage["budgets"]] == [
        ("soft", 0.2, 0),
        ("hard", 0.2, 0),
    ]
    assert [(one["name"], one["used"]) for one in usage["in_flight"]] == [("jobs", 2)]
    assert jobs == {endpoint(0): 2}

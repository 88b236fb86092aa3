"""Tests of the ages of records that a configuration gives the ledger, and of recent requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import pytest
from support.in_process_gateway import small_components

from proxy.app import application
from proxy.app.runtime.reload import KEPT, restart_only_changes
from proxy.app.setup.billing.ledgers import build_retention
from proxy.billing.ledger.jobs import Retention
from proxy.telemetry.access_record import AccessRecord
from proxy.telemetry.json_log import JsonLogWriter

DAY = 86_400.0


@pytest.mark.parametrize(
    ("ledger", "privacy", "retention"),
    [
        ({}, {}, Retention(30 * DAY, 400)),
        ({"keep_days": 3}, {}, Retention(3 * DAY, 400)),
        ({"keep_days": 3}, {"jobs_days": 7, "usage_days": 90}, Retention(3 * DAY, 90)),
        ({}, {"jobs_days": 0.5}, Retention(DAY / 2, 400)),
    ],
)
def test_the_shorter_age_holds(ledger: Mapping[str, object], privacy: Mapping[str, object], retention: object) -> None:
    """Of `ledger.keep_days` and `privacy.jobs_days` the shorter one holds for ended jobs."""
    assert build_retention(small_components(ledger=ledger, privacy=privacy).config) == retention


def test_a_reload_in_place_does_not_change_ages() -> None:
    """A change of [privacy] is refused by name, as the ledger stays."""
    before, after = (small_components(privacy={"usage_days": days}).config for days in (400, 90))

    assert [problem.key for problem in restart_only_changes(before, after, KEPT)] == ["privacy"]


async def test_a_sweep_drops_old_recent_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock moved by two days, requests older than `requests_hours` go with the next sweep."""
    monkeypatch.setattr(application, "SWEEP_INTERVAL", 0.01)
    gateway = application.Application(small_components(privacy={"requests_hours": 24}), JsonLogWriter(1))
    recent, now = gateway.active.telemetry.recent, time.monotonic()
    for name, age in (("old", 25 * 3600), ("young", 23 * 3600)):
        recent.add(AccessRecord(name, "GET", b"/", lambda age=age: now - age), "none", 0.0)  # type: ignore[misc]
    await gateway.start()
    async with asyncio.timeout(10):
        while len(recent.records) == 2:  # noqa: ASYNC110 a sweep announces nothing
            await asyncio.sleep(0.01)
    await gateway.stop()

    assert [record.request_id for record in recent.records] == ["young"]

"""Tests of the ages of records in the ledgers of one process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.redis_ledger import NOW
from support.retention_suite import HOUR, RETENTION, RetentionSuite, ended, pass_time, spend

from proxy.billing.ledger.interface import Ledger
from proxy.billing.ledger.sqlite_ledger import MEMORY, SqliteLedger


@pytest.fixture(params=["file", "memory"])
async def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ledger]:
    path = MEMORY if request.param == "memory" else str(tmp_path / "ledger.db")
    ledger = SqliteLedger(path, timeout=30.0, retention=RETENTION)
    await ledger.start(now=NOW)
    yield ledger
    await ledger.aclose()


class TestRetention(RetentionSuite):
    """The suite over a file and over memory."""

    async def test_ended_jobs_go_by_their_end(self, ledger: Ledger) -> None:
        """A sweep removes a job two days after its end, and not before; a younger one stays."""
        await spend(ledger, "first", NOW)
        await spend(ledger, "second", NOW + 10 * HOUR)
        await pass_time(ledger, 0, 2 * 24 - 1)
        assert await ended(ledger) == ["second", "first"]

        await pass_time(ledger, 2 * 24 - 1, 2 * 24)
        assert await ended(ledger) == ["second"]
        assert await ledger.job("first") is None
        await pass_time(ledger, 2 * 24, 3 * 24)
        assert await ended(ledger) == []

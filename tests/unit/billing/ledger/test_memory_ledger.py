"""The conformance suites on a ledger in memory, which has no journal."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from support.ledger_jobs_suite import LedgerJobsSuite
from support.ledger_suite import LedgerSuite

from proxy.billing.ledger.interface import Ledger
from proxy.billing.ledger.sqlite_ledger import SqliteLedger


class TestMemory(LedgerSuite, LedgerJobsSuite):
    @pytest.fixture
    async def ledger(self) -> AsyncIterator[Ledger]:
        ledger = SqliteLedger(":memory:")
        yield ledger
        await ledger.aclose()

    @pytest.fixture
    async def empty(self) -> AsyncIterator[Ledger]:
        ledger = SqliteLedger(":memory:")
        yield ledger
        await ledger.aclose()

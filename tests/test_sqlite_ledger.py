from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from ledger_suite import LedgerSuite, SharedLedgerSuite

from proxy.ledger import Ledger
from proxy.sqlite_ledger import SqliteLedger

PATIENT = 5.0


class TestMemory(LedgerSuite):
    @pytest.fixture
    async def ledger(self) -> AsyncIterator[Ledger]:
        ledger = SqliteLedger(":memory:", timeout=PATIENT)
        yield ledger
        await ledger.aclose()


class TestFile(LedgerSuite, SharedLedgerSuite):
    @pytest.fixture
    async def ledger(self, tmp_path: Path) -> AsyncIterator[Ledger]:
        ledger = SqliteLedger(str(tmp_path / "ledger.db"), timeout=PATIENT)
        yield ledger
        await ledger.aclose()

    @pytest.fixture
    async def ledgers(self, tmp_path: Path) -> AsyncIterator[tuple[Ledger, Ledger]]:
        a = SqliteLedger(str(tmp_path / "ledger.db"), timeout=PATIENT)
        b = SqliteLedger(str(tmp_path / "ledger.db"), timeout=PATIENT)
        yield a, b
        await a.aclose()
        await b.aclose()

from __future__ import annotations

from proxy.billing.ledger.sqlite_ledger import SqliteLedger
from proxy.billing.probe_lease import LedgerProbeLease
from proxy.upstream.account.probe import Finding


async def test_one_worker_probes_and_the_others_read_its_finding() -> None:
    """Until it publishes its finding is pending; another name is another probe."""
    ledger = SqliteLedger(":memory:")
    first, second = (LedgerProbeLease(ledger, clock=lambda: 1_800_000_000.0) for _ in range(2))

    assert await first.take("key 1") is None
    assert await second.take("key 1") is Finding.PENDING
    await first.publish("key 1", Finding.REFUSED)
    assert await second.take("key 1") is Finding.REFUSED
    assert await second.take("key 2") is None
    await ledger.aclose()

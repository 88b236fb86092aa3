"""Which ledger a configuration describes."""

from __future__ import annotations

from proxy.app.setup.components import Parts
from proxy.billing.ledger.interface import Ledger
from proxy.billing.ledger.redis_ledger import RedisLedger
from proxy.billing.ledger.sqlite_ledger import SqliteLedger

MEMORY = ":memory:"


def ledger_of(parts: Parts) -> Ledger:
    if parts.config.ledger.kind == "redis" and parts.store is not None:
        return RedisLedger(parts.store)
    path = parts.config.ledger.path
    return SqliteLedger(path if path == MEMORY else str(parts.config.base / path))


def local_of(parts: Parts, ledger: Ledger) -> Ledger:
    """Where to count what is to be counted in this process while the store is away: a ledger of its own."""
    return SqliteLedger(MEMORY) if parts.config.ledger.kind == "redis" else ledger

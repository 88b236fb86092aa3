"""Ledgers, built from the [ledger] of a configuration."""

from __future__ import annotations

from proxy.app.setup.components import Components
from proxy.billing.ledger.interface import Ledger
from proxy.billing.ledger.redis_ledger import RedisLedger
from proxy.billing.ledger.sqlite_ledger import SqliteLedger

MEMORY = ":memory:"


def build_ledger(parts: Components) -> Ledger:
    """Builds the ledger that all workers share, or the SQLite one of a single process."""
    if parts.config.ledger.kind == "redis" and parts.store is not None:
        return RedisLedger(parts.store)
    path = parts.config.ledger.path
    return SqliteLedger(path if path == MEMORY else str(parts.config.base / path))


def build_local_ledger(parts: Components, ledger: Ledger) -> Ledger:
    """Builds the ledger that counts in this process while the store does not answer."""
    return SqliteLedger(MEMORY) if parts.config.ledger.kind == "redis" else ledger

"""Ledgers, built from the [ledger] of a configuration."""

from __future__ import annotations

from proxy.app.setup.components import Components
from proxy.billing.ledger.interface import Ledger
from proxy.billing.ledger.redis_ledger import RedisLedger
from proxy.billing.ledger.sqlite_ledger import SqliteLedger

MEMORY = ":memory:"
FILE_TIMEOUT = 2.0  # seconds


def build_ledger(parts: Components) -> Ledger:
    """Builds the ledger that all workers share, or the SQLite one of a single process."""
    if parts.config.ledger.kind == "redis" and parts.store is not None:
        return RedisLedger(parts.store)
    section = parts.config.ledger
    return SqliteLedger(
        section.path if section.path == MEMORY else str(parts.config.base / section.path),
        timeout=section.timeout_seconds or FILE_TIMEOUT,
        lock_seconds=section.lock_seconds,
        keep_days=section.keep_days,
    )


def build_local_ledger(parts: Components, ledger: Ledger) -> Ledger:
    """Builds the ledger that counts in this process while the store does not answer."""
    return SqliteLedger(MEMORY) if parts.config.ledger.kind == "redis" else ledger

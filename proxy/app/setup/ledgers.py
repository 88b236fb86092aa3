"""Ledgers, built from the [ledger] of a configuration."""

from __future__ import annotations

from proxy.app.setup.components import Components
from proxy.billing.ledger.interface import Ledger
from proxy.billing.ledger.redis_ledger import RedisLedger
from proxy.billing.ledger.sqlite_ledger import SqliteLedger
from proxy.telemetry.metrics import Telemetry

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


def ledger_metrics(telemetry: Telemetry, ledger: Ledger) -> None:
    """Exports the figures of a ledger."""
    stats = ledger.stats
    telemetry.counter("ledger_failures", "Steps that the ledger did not answer.", lambda: stats().failures)
    telemetry.counter("ledger_commits", "Groups committed to the ledger's file.", lambda: stats().commits)
    telemetry.counter("ledger_commit_seconds", "Seconds spent on commits of the file.", lambda: stats().commit_seconds)
    telemetry.counter("ledger_unsettled", "Reservations that expired unsettled.", lambda: stats().unsettled)
    telemetry.gauge("ledger_queue", "Calls that wait for the ledger.", lambda: stats().queue)
    telemetry.gauge("ledger_open_jobs", "Reservations that are not over.", lambda: stats().open_jobs)


def build_local_ledger(parts: Components, ledger: Ledger) -> Ledger:
    """Builds the ledger that counts in this process while the store does not answer."""
    return SqliteLedger(MEMORY) if parts.config.ledger.kind == "redis" else ledger

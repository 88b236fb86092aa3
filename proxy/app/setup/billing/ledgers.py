"""Ledgers, built from the [ledger] of a configuration."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from proxy.app.operator.ledger_socket import LedgerSocket
from proxy.app.operator.operator_steps import OperatorSteps
from proxy.app.setup.components import Components
from proxy.billing.ledger.interface import Ledger
from proxy.billing.ledger.jobs import Retention
from proxy.billing.ledger.redis.ledger import RedisLedger
from proxy.billing.ledger.redis.retention import RedisRetention
from proxy.billing.ledger.sqlite.schema import check_path, damaged_tables, open_readonly
from proxy.billing.ledger.sqlite_ledger import SqliteLedger
from proxy.config.loader import Config
from proxy.config.value_types import DAY
from proxy.errors import Problem
from proxy.storage.redis_client import RedisStore
from proxy.telemetry.metrics import Telemetry

MEMORY = ":memory:"
FILE_TIMEOUT = 2.0  # seconds


def build_ledger(
    components: Components, *, report: Callable[[str], None] = lambda message: None, is_command: bool = False
) -> Ledger:
    """Builds the ledger that all workers share, or the SQLite one of a single process.

    *report* writes to the log. For a command, a Redis ledger fails at once while its store is away, and closes it.
    """
    section = components.config.ledger
    if section.kind == "redis" and components.store is not None:
        return RedisLedger(
            components.store,
            on_data_loss=section.on_data_loss,
            allow_eviction=section.allow_eviction,
            lock_folder=Path(tempfile.gettempdir()) / f"fal-proxy-{os.getuid()}",
            report=report,
            is_command=is_command,
            retention=RedisRetention(build_retention(components.config)),
        )
    return SqliteLedger(
        section.path if section.path == MEMORY else str(components.config.base / section.path),
        timeout=section.timeout_seconds or FILE_TIMEOUT,
        lock_seconds=section.lock_seconds,
        retention=build_retention(components.config),
    )


def build_retention(config: Config) -> Retention:
    """Returns how long the ledger keeps old records: the shorter of two times for ended jobs."""
    days, privacy = config.ledger.keep_days, config.privacy
    jobs = days if privacy.jobs_days is None else min(days, privacy.jobs_days)
    return Retention(jobs * DAY, privacy.usage_days)


def ledger_metrics(telemetry: Telemetry, ledger: Ledger) -> None:
    """Exports the figures of a ledger."""
    stats = ledger.stats
    telemetry.counter("ledger_failures", "Steps that the ledger did not answer.", lambda: stats().failures)
    telemetry.counter("ledger_commits", "Groups committed to the ledger's file.", lambda: stats().commits)
    telemetry.counter("ledger_commit_seconds", "Seconds spent on commits of the file.", lambda: stats().commit_seconds)
    telemetry.counter("ledger_unsettled", "Reservations that expired unsettled.", lambda: stats().unsettled)
    telemetry.gauge("ledger_queue", "Calls that wait for the ledger.", lambda: stats().queue)
    if isinstance(ledger, RedisLedger):
        telemetry.counter("ledger_data_losses", "Times that the data in Redis was lost.", lambda: ledger.epoch.losses)
        telemetry.gauge(
            "store_clock_skew_seconds",
            "Time by which this host is ahead of Redis.",
            lambda: ledger.clock_skew,
            merge="max",
        )
    telemetry.gauge("ledger_open_jobs", "Reservations that are not over.", lambda: stats().open_jobs, merge="max")


def store_metrics(telemetry: Telemetry, store: RedisStore) -> None:
    """Exports the figures of the store that workers share."""
    telemetry.counter("store_failures", "Calls that the store did not answer in time.", lambda: store.failures)
    telemetry.counter("store_shed", "Calls refused because too many waited for the store.", lambda: store.shed)
    telemetry.counter("store_replies", "Replies of the store.", lambda: store.replies)
    telemetry.counter("store_reply_seconds", "Seconds from sending to reply, summed.", lambda: store.reply_seconds)
    telemetry.gauge("store_pending", "Calls that wait for a reply of the store.", lambda: store.pending)
    telemetry.gauge("store_breaker_open", "1 while calls fail at once.", lambda: store.breaker_is_open, merge="max")


def build_ledger_socket(components: Components, ledger: Ledger) -> LedgerSocket | None:
    """Builds the socket for commands. None without a file: Redis takes commands itself, memory none."""
    section = components.config.ledger
    if not isinstance(ledger, SqliteLedger) or section.path == MEMORY:
        return None
    return LedgerSocket(f"{components.config.base / section.path}.sock", OperatorSteps(ledger, time.time))


def build_local_ledger(components: Components, ledger: Ledger) -> Ledger:
    """Builds the ledger that counts in this process while the store does not answer."""
    config = components.config
    return SqliteLedger(MEMORY, retention=build_retention(config)) if config.ledger.kind == "redis" else ledger


def check_ledger_file(config: Config) -> tuple[list[Problem], list[Problem]]:
    """Returns problems and warnings of the ledger's file, which is opened for reading where it exists."""
    section = config.ledger
    if section.kind != "sqlite" or section.path == MEMORY:
        return [], []
    path = str(config.base / section.path)
    try:
        check_path(path)
    except ValueError as error:
        return [Problem("ledger.path", str(error))], []
    if not Path(path).exists():
        return [], []
    with closing(open_readonly(path)) as db:
        return [Problem("ledger.path", f"{table} is damaged: {text}") for table, text in damaged_tables(db).items()], []

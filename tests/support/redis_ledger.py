"""Redis ledgers for tests, and requests to reserve in them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from redis import Redis

from proxy.billing.ledger.interface import Charge, InFlightSlot, ReservationRequest
from proxy.billing.ledger.jobs import Retention
from proxy.billing.ledger.redis.epoch import OnDataLoss
from proxy.billing.ledger.redis.ledger import RedisLedger
from proxy.billing.ledger.redis.retention import RedisRetention
from proxy.storage.redis_client import RedisStore

NOW = 1_800_000_000.25
TODAY = datetime.fromtimestamp(NOW, UTC).date()
_RETENTION = Retention()
LONG_TIMEOUT = 5.0  # seconds, where a busy machine must not decide the test


@asynccontextmanager
async def opened(
    url: str,
    *,
    timeout: float = LONG_TIMEOUT,
    prefix: str = "t:",
    on_data_loss: OnDataLoss = "continue",
    allow_eviction: bool = False,
    lock_folder: Path | None = None,
    reports: list[str] | None = None,
    retention: Retention = _RETENTION,
) -> AsyncIterator[RedisLedger]:
    """Yields a started ledger. *reports* gets its messages for the log."""
    store = RedisStore(url, timeout=timeout, prefix=prefix)
    ledger = RedisLedger(
        store,
        on_data_loss=on_data_loss,
        allow_eviction=allow_eviction,
        lock_folder=lock_folder,
        report=(lambda message: None) if reports is None else reports.append,
        retention=RedisRetention(retention),
    )
    try:
        await ledger.start(now=NOW)
        yield ledger
    finally:
        await ledger.aclose()
        await store.aclose()


def charge(
    limit: int = 100,
    *,
    account: str = "daily:alice",
    enforce: bool = True,
    buckets: int = 1,
    ttl: float = 50.0,
    thresholds: tuple[int, ...] = (),
) -> Charge:
    """Returns a charge on bucket 20; *buckets* is the number of buckets that count."""
    return Charge(
        budget=account.partition(":")[0],
        account=account,
        current=20,
        oldest=21 - buckets,
        limit=limit,
        renews_at=NOW + 50,
        ttl=ttl,
        enforce=enforce,
        thresholds=thresholds,
    )


def slot(limit: int = 2, *, account: str = "jobs:alice", lease: float = 60.0) -> InFlightSlot:
    return InFlightSlot("jobs", account, limit, lease, enforce=True)


def request(
    amount: int = 10, *charges: Charge, slots: tuple[InFlightSlot, ...] = (), ttl: float = 100.0
) -> ReservationRequest:
    return ReservationRequest("alice", "fal-ai/hyper-sdxl/image-to-image", amount, charges or (charge(),), slots, ttl)


async def sums(ledger: RedisLedger, *charges: Charge) -> list[tuple[int, int]]:
    """Returns used and reserved of each charge."""
    return [(status.used, status.reserved) for status in await ledger.statuses(charges or (charge(),), (), now=NOW)]


def stored(admin: Redis) -> dict[bytes, bytes | None]:
    """Returns everything in the store but the heartbeats, which change by themselves."""
    return {key: admin.dump(key) for key in admin.scan_iter() if b":worker:" not in key}

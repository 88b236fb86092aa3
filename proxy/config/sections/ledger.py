"""The [ledger] and [store] tables: budgets, jobs in flight and counts shared by workers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from proxy.config.value_types import Section


class LedgerSection(Section):
    """Where budgets, jobs in flight and idempotency keys are kept, and how reservations end.

    "sqlite" keeps them in *path* (":memory:" forgets them at the end), "redis" in the store, for several workers.
    """

    kind: Literal["sqlite", "redis"] = "sqlite"
    path: str = ":memory:"
    reservation_seconds: float = Field(default=86_400.0, ge=60, le=30 * 86_400)
    settle_by: Literal["price", "billable"] = "price"
    unit_price: float = Field(default=1.0, ge=0, le=1e6)
    refund_failed: bool = True
    idempotency_seconds: float = Field(default=86_400.0, ge=60, le=7 * 86_400)


class Store(Section):
    """Where counts shared by workers live: this process's memory, or Redis/Valkey at the URL in *url_env*."""

    kind: Literal["memory", "redis"] = "memory"
    url_env: str = "FAL_PROXY_REDIS_URL"
    prefix: str = Field(default="fal-proxy:", pattern=r"^[A-Za-z0-9_.:-]{1,64}$")

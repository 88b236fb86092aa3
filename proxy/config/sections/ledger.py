"""The [ledger] and [store] tables: budgets, jobs in flight and counts shared by workers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from proxy.config.value_types import DAY, HOUR, MIB, MINUTE, Section


class LedgerSection(Section):
    """Budgets, jobs in flight and idempotency keys, and the end of reservations."""

    kind: Literal["sqlite", "redis"] = Field(
        default="sqlite",
        description='"sqlite" keeps the ledger in `path`, for one process. "redis" keeps it in the `[store]`, '
        "for several workers or machines.",
    )
    path: str = Field(
        default=":memory:",
        description='File of the SQLite ledger. ":memory:" forgets everything when the process ends.',
    )
    timeout_seconds: float | None = Field(
        default=None,
        gt=0,
        le=60,
        description="Seconds that a step waits for the ledger: 2 for a file, 1 for Redis where it is left out.",
    )
    allow_eviction: bool = Field(
        default=False,
        description="Whether a Redis that may evict keys is used. Otherwise a `maxmemory-policy` other than "
        "`noeviction` is refused at the start, because what was spent could be dropped.",
    )
    on_data_loss: Literal["continue", "deny"] = Field(
        default="continue",
        description='Effect of lost Redis data, as after FLUSHALL or a restart without persistence. "continue" starts '
        'from nothing, with a line in the log, a metric and a readiness detail. "deny" refuses calls that draw on the '
        "ledger until `fal-proxy ledger check --accept-loss`, also before the very first call.",
    )
    lock_seconds: float = Field(
        default=150.0,
        ge=0,
        le=3600,
        description="Seconds that a process waits, not ready, for another one that has the file. Then it ends.",
    )
    keep_days: float = Field(
        default=30.0,
        ge=0,
        le=3650,
        description="Days that ended jobs stay in the ledger as line items. In memory at most the newest 10,000 stay. "
        "Redis keeps the newest 1,000 of a caller, for at most 7 days.",
    )
    reservation_seconds: float = Field(
        default=float(DAY),
        ge=MINUTE,
        le=30 * DAY,
        description="Age at which a reservation with an unknown outcome counts as spent.",
    )
    settle_by: Literal["price", "billable"] = Field(
        default="price",
        description='"price" settles a job at the price reserved for it. "billable" settles it at the billable units '
        "that fal reports, times `unit_price`.",
    )
    unit_price: float = Field(
        default=1.0, ge=0, le=1e6, description='Price of one billable unit, where `settle_by` is "billable".'
    )
    expose_price: bool = Field(
        default=False,
        description="Whether callers get the price of their call (`x-price`) and fal's `x-fal-billable-units`.",
    )
    refund_failed: bool = Field(default=True, description="Whether a job that failed gives its reservation back.")
    idempotency_seconds: float = Field(
        default=float(DAY),
        ge=MINUTE,
        le=7 * DAY,
        description="Time for which a repeated `Idempotency-Key` gets the stored answer.",
    )
    rejoin_seconds: float = Field(
        default=120.0,
        ge=0,
        le=HOUR,
        description="Time for which a repeat without a key joins a call whose caller lost its connection. 0: never.",
    )
    max_stored_answer_bytes: int = Field(
        default=MIB,
        ge=1024,
        le=16 * MIB,
        description="Largest answer of a run that is stored for repeats. A larger one is not sent again.",
    )


class PrivacySection(Section):
    """Keys of users in the ledger and the store, and the ages at which records of users are removed."""

    secret_env: str | None = Field(
        default=None,
        description="Environment variable with a secret of 32 bytes or more. Users appear in stores as HMACs under it, "
        "which cannot be computed without it. It is fixed for the ledger's life; `ledger migrate` changes it.",
    )
    jobs_days: float | None = Field(
        default=None,
        gt=0,
        le=3650,
        description="Most days that ended jobs stay in the ledger. The shorter of this and `ledger.keep_days` holds; "
        "in Redis it is 2 hours at least. Left out: `ledger.keep_days`.",
    )
    usage_days: int = Field(
        default=400,
        ge=1,
        le=400,
        description="Days that the sums of a day by user and endpoint stay in the ledger, as `fal-proxy usage` prints "
        "them.",
    )
    requests_hours: float = Field(
        default=168.0,
        ge=0,
        le=8760,
        description="Most hours that a request stays among the last 200 of the operator page, which are in memory. "
        "Lines of the journal are kept where you collect them.",
    )


class Store(Section):
    """Counts that workers share: in the memory of one process, or in Redis or Valkey."""

    kind: Literal["memory", "redis"] = Field(
        default="memory", description='"memory" is for one process; several workers need "redis".'
    )
    url_env: str = Field(
        default="FAL_PROXY_REDIS_URL",
        description="Environment variable that holds the URL of Redis or Valkey, since it may contain a password.",
    )
    prefix: str = Field(
        default="fal-proxy:",
        pattern=r"^[A-Za-z0-9_.:-]{1,64}$",
        description="Start of all keys, so that several gateways can share one server.",
        examples=["fal-proxy:"],
    )

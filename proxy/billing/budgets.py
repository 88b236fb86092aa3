"""Which allowances a request draws on: windows of spending, and seats for jobs in flight. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Literal, Protocol
from zoneinfo import ZoneInfo

from proxy.auth.caller import Caller
from proxy.auth.sessions.claims import claim_text
from proxy.billing.ledger.interface import Charge, InFlightSlot, OnStoreError
from proxy.billing.ledger.money import Micros
from proxy.fal_api.operations import WITHOUT_ENDPOINT

ROLLING_BUCKETS = 24  # parts of a rolling window; what is spent is forgotten up to one part late, never early
Mode = Literal["enforce", "observe"]


@dataclass(frozen=True, slots=True)
class WindowState:
    """State of a budget's window at one time.

    *current* is the bucket that is charged; all from *oldest* on count against the limit. *renews_at*: when the first
    of them stops counting (unix seconds). *ttl*: how long the current bucket must be kept (seconds).
    """

    current: int
    oldest: int
    renews_at: float
    ttl: float


class BudgetWindow(Protocol):
    def state(self, now: float) -> WindowState: ...


@dataclass(frozen=True, slots=True)
class CalendarWindow:
    """A day or a month of a time zone, from midnight to midnight of its wall clocks."""

    period: Literal["day", "month"]
    zone: ZoneInfo

    def state(self, now: float) -> WindowState:
        local = datetime.fromtimestamp(now, self.zone)
        start = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        if self.period == "month":
            start = start.replace(day=1)
            end = (start + timedelta(days=32)).replace(day=1)
        else:
            end = start + timedelta(days=1)
        renews_at = end.astimezone(UTC).timestamp()
        bucket = start.year * 10_000 + start.month * 100 + start.day
        return WindowState(bucket, bucket, renews_at, renews_at - now)


@dataclass(frozen=True, slots=True)
class RollingWindow:
    """The last *hours* hours, whenever one looks."""

    hours: int

    def state(self, now: float) -> WindowState:
        length = self.hours * 3600 / ROLLING_BUCKETS
        current = math.floor(now / length)
        # One more than fills the window, so that no true window of *hours* ever holds more than is counted.
        oldest = current - ROLLING_BUCKETS
        return WindowState(current, oldest, (current + 1) * length, (ROLLING_BUCKETS + 2) * length)


@dataclass(frozen=True, slots=True)
class Budget:
    """So much in a window for each user, value of a claim, endpoint, or for all together.

    Where *tiers* are given, the limit is that of the caller's value of *tier_claim*, and *limit* for any other value;
    None there means nothing at all. Without *endpoints* every endpoint draws on it, but neither uploads nor
    realtime tokens, which are none.
    """

    name: str
    per: Literal["user", "claim", "endpoint", "global"]
    window: BudgetWindow
    limit: Micros | None
    claim: str | None = None
    tiers: Mapping[str, Micros] = field(default_factory=dict)
    tier_claim: str | None = None
    endpoints: frozenset[str] = frozenset()
    mode: Mode = "enforce"
    on_store_error: OnStoreError = "deny"


@dataclass(frozen=True, slots=True)
class InFlightLimit:
    """So many unfinished jobs for each user or for all; a job nobody hears of frees its seat after *lease* seconds."""

    name: str
    per: Literal["user", "global"]
    limit: int
    lease: float
    endpoints: frozenset[str] = frozenset()
    mode: Mode = "enforce"
    on_store_error: OnStoreError = "deny"


def charges(budgets: Iterable[Budget], caller: Caller, endpoint: str, now: float) -> tuple[Charge, ...]:
    """*now* in unix seconds: calendar windows follow the wall clock."""
    return tuple(_charge(budget, caller, endpoint, now) for budget in budgets if _covers(budget, endpoint))


def slots(in_flight: Iterable[InFlightLimit], caller: Caller, endpoint: str) -> tuple[InFlightSlot, ...]:
    return tuple(
        InFlightSlot(
            name=rule.name,
            account=f"{rule.name}:{caller.key if rule.per == 'user' else 'all'}",
            limit=rule.limit,
            lease=rule.lease,
            enforce=rule.mode == "enforce",
            on_store_error=rule.on_store_error,
        )
        for rule in in_flight
        if _covers(rule, endpoint)
    )


def _covers(rule: Budget | InFlightLimit, endpoint: str) -> bool:
    return endpoint in rule.endpoints if rule.endpoints else endpoint not in _NAMED_ONLY


_NAMED_ONLY = frozenset(WITHOUT_ENDPOINT.values())


def _charge(budget: Budget, caller: Caller, endpoint: str, now: float) -> Charge:
    span = budget.window.state(now)
    return Charge(
        budget=budget.name,
        account=f"{budget.name}:{_subject(budget, caller, endpoint)}",
        current=span.current,
        oldest=span.oldest,
        limit=_limit(budget, caller),
        renews_at=span.renews_at,
        ttl=span.ttl,
        enforce=budget.mode == "enforce",
        on_store_error=budget.on_store_error,
        endpoint=endpoint if budget.per == "endpoint" else None,
    )


def _subject(budget: Budget, caller: Caller, endpoint: str) -> str:
    match budget.per:
        case "user":
            return caller.key
        case "claim":
            # Equal values of two issuers are not one team.
            return _named(f"{caller.issuer}\0{_claim(caller, budget.claim)}")
        case "endpoint":
            return _named(endpoint)
        case "global":
            return "all"


def _limit(budget: Budget, caller: Caller) -> Micros:
    tier = _claim(caller, budget.tier_claim)
    return budget.tiers.get(tier, budget.limit or 0)


def _claim(caller: Caller, name: str | None) -> str:
    """The claim's text. Callers without it share one account, which is the narrower choice."""
    return (None if name is None else claim_text(caller.claims.get(name))) or ""


def _named(text: str) -> str:
    # Hashed: a claim may hold anything, an account name becomes part of a store's key.
    return sha256(text.encode()).hexdigest()

"""Budgets and limits of jobs in flight, and the accounts that one request draws on. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final, Literal, Protocol
from zoneinfo import ZoneInfo

from proxy.auth.caller import Caller
from proxy.auth.sessions.claims import claim_text
from proxy.billing.ledger.interface import Charge, InFlightSlot
from proxy.billing.ledger.money import Micros
from proxy.billing.store_keys import StoreKeys
from proxy.fal_api.operations import WITHOUT_ENDPOINT
from proxy.http.client_address import address_key
from proxy.limit_modes import Mode, OnStoreError

ROLLING_BUCKETS = 24  # parts of a rolling window; spending is forgotten up to one part late, never early
LIFETIME = 100 * 366 * 86_400.0  # seconds that the bucket of a window without an end is kept

BudgetScope = Literal["user", "address", "claim", "endpoint", "global"]
SlotScope = Literal["user", "address", "claim", "global"]


@dataclass(frozen=True, slots=True)
class WindowState:
    """State of a budget's window at one time.

    *current* is the bucket that is charged; all from *oldest* on count against the limit. *renews_at*: when the first
    of them stops counting (unix seconds), None for never. *ttl*: how long the current bucket must be kept (seconds).
    """

    current: int
    oldest: int
    renews_at: float | None
    ttl: float


class BudgetWindow(Protocol):
    def state(self, now: float) -> WindowState:
        """Returns the state at *now*, unix seconds."""


@dataclass(frozen=True, slots=True)
class CalendarWindow:
    """Day, week or month of a time zone, from midnight to midnight. A week begins on Monday (ISO 8601)."""

    period: Literal["day", "week", "month"]
    zone: ZoneInfo

    def state(self, now: float) -> WindowState:
        local = datetime.fromtimestamp(now, self.zone)
        start = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        match self.period:
            case "day":
                end = start + timedelta(days=1)
            case "week":
                start -= timedelta(days=start.weekday())
                end = start + timedelta(days=7)
            case "month":
                start = start.replace(day=1)
                end = (start + timedelta(days=32)).replace(day=1)
        renews_at = end.astimezone(UTC).timestamp()
        bucket = start.year * 10_000 + start.month * 100 + start.day
        return WindowState(bucket, bucket, renews_at, renews_at - now)


@dataclass(frozen=True, slots=True)
class RollingWindow:
    """Last *hours* hours at any time."""

    hours: int

    def state(self, now: float) -> WindowState:
        length = self.hours * 3600 / ROLLING_BUCKETS
        current = math.floor(now / length)
        # One more than fills the window, so that no true window of *hours* ever holds more than is counted.
        oldest = current - ROLLING_BUCKETS
        return WindowState(current, oldest, (current + 1) * length, (ROLLING_BUCKETS + 2) * length)


@dataclass(frozen=True, slots=True)
class LifetimeWindow:
    """One window without an end: prepaid units, which only a credit adds to."""

    def state(self, now: float) -> WindowState:
        return WindowState(0, 0, None, LIFETIME)


@dataclass(frozen=True, slots=True)
class Tiers:
    """Limits by the text of the claim *claim*, a dotted path."""

    claim: str
    limits: Mapping[str, int] = field(default_factory=dict)

    def limit(self, caller: Caller, default: int | None) -> int:
        """Returns the limit of the caller's tier; *default* for any other, where None is nothing at all."""
        return self.limits.get(_claim(caller, self.claim), default or 0)


@dataclass(frozen=True, slots=True)
class Budget:
    """Limit of spending in a window, for each user, address, claim value or endpoint, or for all.

    Without *endpoints* every endpoint draws on it, except uploads and realtime tokens, which are none.
    *thresholds*: percentages of the limit that are reported when they are reached.
    """

    name: str
    per: BudgetScope
    window: BudgetWindow
    limit: Micros | None
    claim: str | None = None
    tiers: Tiers | None = None
    endpoints: frozenset[str] = frozenset()
    mode: Mode = "enforce"
    on_store_error: OnStoreError = "deny"
    thresholds: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class InFlightLimit:
    """Limit of unfinished jobs. A job whose end is not seen frees its slot after *lease* seconds."""

    name: str
    per: SlotScope
    limit: int | None
    lease: float
    claim: str | None = None
    tiers: Tiers | None = None
    endpoints: frozenset[str] = frozenset()
    mode: Mode = "enforce"
    on_store_error: OnStoreError = "deny"


@dataclass(slots=True)
class _Request:
    """One request as far as it decides which accounts it draws on."""

    caller: Final[Caller]
    endpoint: Final[str]
    address: Final[str]
    keys: Final[StoreKeys]


_DIGESTS = StoreKeys()


def charges(
    budgets: Iterable[Budget],
    caller: Caller,
    endpoint: str,
    now: float,
    *,
    address: str = "",
    keys: StoreKeys = _DIGESTS,
) -> tuple[Charge, ...]:
    """Returns the charges of the budgets that a request falls under.

    *now* in unix seconds: windows follow wall clocks. *keys* makes the keys of callers in stores.
    """
    request = _Request(caller, endpoint, address, keys)
    return tuple([_charge(budget, request, now) for budget in budgets if _covers(budget, endpoint)])


def slots(
    in_flight: Iterable[InFlightLimit],
    caller: Caller,
    endpoint: str,
    *,
    address: str = "",
    keys: StoreKeys = _DIGESTS,
) -> tuple[InFlightSlot, ...]:
    """Returns the slots of the in-flight limits that a request falls under."""
    request = _Request(caller, endpoint, address, keys)
    return tuple(
        [
            InFlightSlot(
                name=rule.name,
                account=f"{rule.name}:{_subject(rule.per, rule.claim, request)}",
                limit=_limit(rule, caller),
                lease=rule.lease,
                enforce=rule.mode == "enforce",
                on_store_error=rule.on_store_error,
            )
            for rule in in_flight
            if _covers(rule, endpoint)
        ]
    )


def user_account(budget: str, caller_key: str) -> str:
    """Returns the account of one user in a budget with per = "user"; *caller_key* as in stores."""
    return f"{budget}:{caller_key}"


def _covers(rule: Budget | InFlightLimit, endpoint: str) -> bool:
    return endpoint in rule.endpoints if rule.endpoints else endpoint not in _NAMED_ONLY


_NAMED_ONLY = frozenset(WITHOUT_ENDPOINT.values())


def _charge(budget: Budget, request: _Request, now: float) -> Charge:
    state = budget.window.state(now)
    return Charge(
        budget=budget.name,
        account=f"{budget.name}:{_subject(budget.per, budget.claim, request)}",
        current=state.current,
        oldest=state.oldest,
        limit=_limit(budget, request.caller),
        renews_at=state.renews_at,
        ttl=state.ttl,
        enforce=budget.mode == "enforce",
        on_store_error=budget.on_store_error,
        endpoint=request.endpoint if budget.per == "endpoint" else None,
        thresholds=budget.thresholds,
    )


def _subject(per: BudgetScope, claim: str | None, request: _Request) -> str:
    match per:
        case "user":
            return request.keys.key(request.caller.key)
        case "address":
            return request.keys.key(_digest(address_key(request.address)))
        case "claim":
            # Equal values of two issuers are not one team.
            return request.keys.key(_digest(f"{request.caller.issuer}\0{_claim(request.caller, claim)}"))
        case "endpoint":
            return request.keys.key(_digest(request.endpoint))
        case "global":
            return "all"


def _limit(rule: Budget | InFlightLimit, caller: Caller) -> int:
    return (rule.limit or 0) if rule.tiers is None else rule.tiers.limit(caller, rule.limit)


def _claim(caller: Caller, path: str | None) -> str:
    """Returns the claim's text. Callers without it share one account, which is the narrower choice."""
    return "" if path is None else claim_text(caller.claims.get(path)) or ""


def _digest(text: str) -> str:
    # A claim may hold anything; an account name becomes part of a store's key.
    return sha256(text.encode()).hexdigest()

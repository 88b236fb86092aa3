"""Budgets, limits of jobs in flight and the settlement policy, built from their sections of the file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from zoneinfo import ZoneInfo

from proxy.billing.budgets import (
    Budget,
    BudgetWindow,
    CalendarWindow,
    InFlightLimit,
    LifetimeWindow,
    RollingWindow,
    Tiers,
)
from proxy.billing.ledger.money import MICRO, Micros
from proxy.billing.settlement_policy import SettlementPolicy
from proxy.config.sections.endpoints import Endpoint
from proxy.config.sections.ledger import LedgerSection
from proxy.config.sections.limits import BudgetSection, InFlightSection, Limit
from proxy.fal_api.endpoint_ids import app_id
from proxy.near_names import did_you_mean
from proxy.ratelimit.rate_limiter import RateRule, parse_rate
from proxy.ratelimit.sliding_window import RateLimit


def build_budget(section: BudgetSection, listed: frozenset[str]) -> Budget:
    """Builds a budget over some of the *listed* endpoints.

    Raises ValueError where keys contradict each other.
    """
    _check_claims(section)
    return Budget(
        name=section.name,
        per=section.per,
        window=_window(section),
        limit=None if section.limit is None else _micros(section.limit),
        claim=section.claim,
        tiers=_tiers(section.tier_claim, {tier: _micros(limit) for tier, limit in section.tiers.items()}),
        endpoints=_known(section.endpoints, listed),
        mode=section.mode,
        on_store_error=section.on_store_error,
        thresholds=tuple(sorted(set(section.thresholds))),
    )


def build_in_flight_limit(section: InFlightSection, listed: frozenset[str]) -> InFlightLimit:
    """Builds a limit of jobs in flight. Raises ValueError where keys contradict each other."""
    _check_claims(section)
    return InFlightLimit(
        name=section.name,
        per=section.per,
        limit=section.limit,
        lease=section.lease_seconds,
        claim=section.claim,
        tiers=_tiers(section.tier_claim, section.tiers),
        endpoints=_known(section.endpoints, listed),
        mode=section.mode,
        on_store_error=section.on_store_error,
    )


def build_rate_rule(limit: Limit, listed: frozenset[str]) -> RateRule:
    """Returns the rule of a [[limits]] table. Raises ValueError for parts that do not go together."""
    if (limit.per == "claim") != (limit.claim is not None):
        raise ValueError('per = "claim" and claim go together')
    if bool(limit.tiers) != (limit.tier_claim is not None):
        raise ValueError("tiers and tier_claim go together")
    return RateRule(
        limit.name,
        *parse_rate(limit.rate),
        per=limit.per,
        actions=frozenset(limit.actions),
        on_store_error=limit.on_store_error,
        mode=limit.mode,
        endpoints=_known(limit.endpoints, listed),
        claim=limit.claim or "",
        tier_claim=limit.tier_claim or "",
        tiers={tier: RateLimit(limit.name, *parse_rate(rate)) for tier, rate in limit.tiers.items()},
    )


def build_settlement_policy(section: LedgerSection, endpoints: Iterable[Endpoint] = ()) -> SettlementPolicy:
    """Returns the settlement policy. Raises ValueError where endpoints of an app differ in unit price.

    A job's end names its app alone, so a price of billable units is one for the app.
    """
    prices: dict[str, set[float]] = {}
    for endpoint in endpoints:
        price = section.unit_price if endpoint.unit_price is None else endpoint.unit_price
        prices.setdefault(app_id(endpoint.id), set()).add(price)
    if differing := [app for app, of_app in prices.items() if len(of_app) > 1]:
        raise ValueError(f"the endpoints of {differing[0]} must have one unit_price: fal reports units by app")
    return SettlementPolicy(
        section.reservation_seconds,
        section.settle_by,
        section.unit_price,
        section.refund_failed,
        {app: of_app.pop() for app, of_app in prices.items()},
    )


def _check_claims(section: BudgetSection | InFlightSection) -> None:
    if (section.per == "claim") != (section.claim is not None):
        raise ValueError('per = "claim" and claim go together')
    if bool(section.tiers) != (section.tier_claim is not None):
        raise ValueError("tiers and tier_claim go together")
    if section.limit is None and not section.tiers:
        raise ValueError("a limit is needed, or tiers")


def _tiers(claim: str | None, limits: Mapping[str, int]) -> Tiers | None:
    return None if claim is None else Tiers(claim, limits)


def _window(section: BudgetSection) -> BudgetWindow:
    match section.window:
        case "day" | "week" | "month" as period:
            return CalendarWindow(period, ZoneInfo(section.zone))
        case "lifetime":
            return LifetimeWindow()
        case hours:
            return RollingWindow(int(hours.removesuffix("h")))


def _known(endpoints: Iterable[str], listed: frozenset[str]) -> frozenset[str]:
    if unknown := set(endpoints) - listed:
        raise ValueError(f"{min(unknown)} is not a listed endpoint{did_you_mean(min(unknown), listed)}")
    return frozenset(endpoints)


def _micros(units: float) -> Micros:
    return round(units * MICRO)

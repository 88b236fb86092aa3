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
from proxy.config.sections.limits import BudgetSection, InFlightSection
from proxy.fal_api.endpoint_ids import app_id
from proxy.near_names import did_you_mean


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


def build_settlement_policy(section: LedgerSection, endpoints: Iterable[Endpoint] = ()) -> SettlementPolicy:
    """Returns how reservations end. Raises ValueError where two endpoints of one app have other unit prices.

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

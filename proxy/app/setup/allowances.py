"""Budgets, seats and terms of settlement, made from their sections of the file; ValueError for what cannot be."""

from __future__ import annotations

from collections.abc import Iterable
from zoneinfo import ZoneInfo

from proxy.billing.budgets import Budget, Calendar, InFlight, Rolling, Window
from proxy.billing.ledger.money import MICRO, Micros
from proxy.billing.reservations import Terms
from proxy.config.document import BudgetSection, InFlightSection, LedgerSection


def budget_of(section: BudgetSection, listed: frozenset[str]) -> Budget:
    """*listed* are the endpoints that may be named."""
    if (section.per == "claim") != (section.claim is not None):
        raise ValueError('per = "claim" and claim go together')
    if bool(section.tiers) != (section.tier_claim is not None):
        raise ValueError("tiers and tier_claim go together")
    if section.limit is None and not section.tiers:
        raise ValueError("a limit is needed, or tiers")
    return Budget(
        name=section.name,
        per=section.per,
        window=_window(section),
        limit=None if section.limit is None else _micros(section.limit),
        claim=section.claim,
        tiers={tier: _micros(limit) for tier, limit in section.tiers.items()},
        tier_claim=section.tier_claim,
        endpoints=_known(section.endpoints, listed),
        mode=section.mode,
        when_away=section.when_away,
    )


def rule_of(section: InFlightSection, listed: frozenset[str]) -> InFlight:
    return InFlight(
        name=section.name,
        per=section.per,
        limit=section.limit,
        lease=section.lease_seconds,
        endpoints=_known(section.endpoints, listed),
        mode=section.mode,
        when_away=section.when_away,
    )


def terms_of(section: LedgerSection) -> Terms:
    return Terms(section.reservation_seconds, section.settle_by, section.unit_price, section.refund_failed)


def _window(section: BudgetSection) -> Window:
    match section.window:
        case "day" | "month" as period:
            return Calendar(period, ZoneInfo(section.zone))
        case hours:
            return Rolling(int(hours.removesuffix("h")))


def _known(endpoints: Iterable[str], listed: frozenset[str]) -> frozenset[str]:
    if unknown := set(endpoints) - listed:
        raise ValueError(f"{min(unknown)} is not a listed endpoint")
    return frozenset(endpoints)


def _micros(units: float) -> Micros:
    return round(units * MICRO)

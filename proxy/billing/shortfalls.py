"""What a caller is told whose allowance is spent. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from proxy.billing.ledger.interface import Shortfall
from proxy.billing.ledger.money import MICRO
from proxy.errors import BudgetExceeded, RateLimited, Refusal


def refusal_of(shortfall: Shortfall) -> Refusal:
    if shortfall.kind == "in-flight":
        return RateLimited(
            f"{shortfall.limit} jobs are in flight already ({shortfall.name})",
            retry_after=1,
            error_type="too_many_jobs",
        )
    limit, left = shortfall.limit / MICRO, shortfall.left / MICRO
    renews_at = None if shortfall.renews_at is None else rfc3339(shortfall.renews_at)
    return BudgetExceeded(
        f"The budget {shortfall.name} has {left:g} of {limit:g} left; it renews at {renews_at}",
        facts={"budget": {"name": shortfall.name, "limit": limit, "left": left, "renews_at": renews_at}},
    )


def rfc3339(moment: float) -> str:
    """Unix seconds as `2026-11-23T00:00:00Z`."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

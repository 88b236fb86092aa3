"""Quote: the price of a submit and the room for it, before it is sent. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proxy.billing.ledger.interface import AllowanceStatus, ReservationRequest
from proxy.billing.ledger.money import MICRO, Micros
from proxy.strict_json import Json


@dataclass(frozen=True, slots=True)
class QuotedBudget:
    """Budget that a submit would draw on: *left* now, *after* it, credits included."""

    name: str
    left: Micros
    after: Micros


@dataclass(frozen=True, slots=True)
class Quote:
    """Answer to "what would this submit cost". *reason* names the first limit without room, None where all have."""

    endpoint: str
    price: Micros
    budgets: tuple[QuotedBudget, ...]
    reason: str | None

    def json(self) -> dict[str, Json]:
        """Returns the body of `POST …/quote`; amounts in units."""
        return {
            "endpoint": self.endpoint,
            "price": self.price / MICRO,
            "budgets": [
                {"name": budget.name, "left": budget.left / MICRO, "after": budget.after / MICRO}
                for budget in self.budgets
            ],
            "would_be_admitted": self.reason is None,
            "reason": self.reason,
        }


def quote(endpoint: str, price: Micros, request: ReservationRequest, statuses: Sequence[AllowanceStatus]) -> Quote:
    """Returns the quote for *request*. *statuses* are those of its charges, then of its slots."""
    budgets: list[QuotedBudget] = []
    reasons: list[str] = []
    for charge, status in zip(request.charges, statuses, strict=False):
        left = max(status.limit - status.used - status.reserved, 0) + status.credit
        budgets.append(QuotedBudget(charge.budget, left, max(left - price, 0)))
        if charge.enforce and price > left:
            reasons.append(f"the budget {charge.budget} has {left / MICRO:g} left")
    for slot, status in zip(request.slots, statuses[len(request.charges) :], strict=True):
        if slot.enforce and status.used >= slot.limit:
            reasons.append(f"{slot.limit} jobs are in flight already ({slot.name})")
    return Quote(endpoint, price, tuple(budgets), reasons[0] if reasons else None)

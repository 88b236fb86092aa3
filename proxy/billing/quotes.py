"""Quotation of a submit: its price and the room for it, before it is sent. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proxy.billing.ledger.interface import AllowanceStatus, ReservationRequest
from proxy.billing.ledger.money import MICRO, Micros
from proxy.billing.shortfalls import TOO_MANY_JOBS
from proxy.errors import BudgetExceeded


@dataclass(frozen=True, slots=True)
class BudgetLeft:
    """Budget of a quote with what is left of it, credits included, in millionths of a unit."""

    name: str
    left: Micros


@dataclass(frozen=True, slots=True)
class Quotation:
    """Price of a call in millionths of a unit.

    *reason* is the error type of its refusal, None where it has room.
    """

    amount: Micros
    budgets: tuple[BudgetLeft, ...]
    reason: str | None


def quotation(request: ReservationRequest, amount: Micros, statuses: Sequence[AllowanceStatus]) -> Quotation:
    """Returns the quote for *request*. *statuses* are those of its charges, then of its slots."""
    budgets = tuple(
        BudgetLeft(status.name, status.limit - status.used - status.reserved + status.credit)
        for status in statuses[: len(request.charges)]
    )
    charged = zip(request.charges, budgets, strict=True)
    slots = zip(request.slots, statuses[len(request.charges) :], strict=True)
    reason = None
    if any(charge.enforce and budget.left < amount for charge, budget in charged):
        reason = BudgetExceeded.error_type
    elif any(slot.enforce and status.used >= status.limit for slot, status in slots):
        reason = TOO_MANY_JOBS
    return Quotation(amount, budgets, reason)


def price_field(amount: Micros) -> tuple[bytes, bytes]:
    """Returns the response field with the reserved price, in the operator's units."""
    return b"x-price", f"{amount / MICRO:.6f}".rstrip("0").rstrip(".").encode("ascii")

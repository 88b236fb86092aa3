"""Errors for callers whose budget or in-flight limit has no room. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from proxy.billing.ledger.interface import LimitExceeded, ReservationRequest
from proxy.billing.ledger.money import MICRO
from proxy.errors import BudgetExceeded, RateLimited, Refusal

TOO_MANY_JOBS = "too_many_jobs"


def limit_exceeded_error(short: LimitExceeded, *, price: int = 0, retry_after: float = 1.0) -> Refusal:
    """Returns the refusal for *short*.

    *price* of the request in millionths. *retry_after*: seconds until jobs in flight are looked at again.
    """
    if short.kind == "in-flight":
        return RateLimited(
            f"{short.limit} jobs are in flight already ({short.name})",
            retry_after=math.ceil(retry_after),
            error_type=TOO_MANY_JOBS,
            reason=f"{short.limit} jobs in flight",
            limit=(short.kind, short.name),
        )
    limit, left = short.limit / MICRO, short.left / MICRO
    renews_at = None if short.renews_at is None else rfc3339(short.renews_at)
    message = f"The price is {price / MICRO:g}, and the budget {short.name} has {left:g} of {limit:g} left; "
    return BudgetExceeded(
        message + _renewal(short, price, renews_at),
        facts={"budget": {"name": short.name, "limit": limit, "left": left, "renews_at": renews_at}},
        reason=f"{left:g} of {limit:g} left",
        limit=(short.kind, short.name),
    )


def slot_account(short: LimitExceeded, request: ReservationRequest) -> str:
    """Returns the account of the slot that had no room."""
    return next(slot.account for slot in request.slots if slot.name == short.name)


def would_deny(observed: Sequence[str]) -> tuple[tuple[bytes, bytes], ...]:
    """Returns the response field that names limits in observe mode without room."""
    return ((b"would-deny", ", ".join(observed).encode("ascii")),) if observed else ()


def _renewal(short: LimitExceeded, price: int, renews_at: str | None) -> str:
    if renews_at is not None:
        return f"it renews at {renews_at}"
    return "the price is above the whole budget" if price > short.limit else "it does not renew"


def rfc3339(moment: float) -> str:
    """Returns unix seconds as `2026-11-23T00:00:00Z`."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

"""Settlement policy: what a call costs by its end. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from proxy.billing.ledger.jobs import EndState
from proxy.billing.ledger.money import Micros, micros
from proxy.upstream.job_end import JobEnd


@dataclass(frozen=True, slots=True)
class SettlementPolicy:
    """Rules by which reservations end.

    *reservation*: seconds after which an outcome that nothing reported counts as spent.

    *settle_by* "billable" takes fal's x-fal-billable-units for the amount, where fal gives them. They are multiplied by
    the price of the app in *unit_prices*, else by *unit_price*.
    """

    reservation: float = 86_400.0
    settle_by: Literal["price", "billable"] = "price"
    unit_price: float = 1.0
    refund_failed: bool = True
    unit_prices: Mapping[str, float] = field(default_factory=dict)

    def amount_due(self, end: JobEnd, app: str) -> Micros | None:
        """Returns the amount to settle for a job of *app* (owner/alias); None is the one that was reserved."""
        is_refunded = self.refund_failed if end.failed else end.cancelled
        if is_refunded:
            return 0
        if end.failed or self.settle_by == "price" or end.units is None:
            return None
        return micros(end.units * self.unit_prices.get(app, self.unit_price))

    def awaits_units(self, end: JobEnd) -> bool:
        """Returns True where the amount depends on units that only the job's result has."""
        return self.settle_by == "billable" and end.units is None and not end.cancelled and not end.failed


def end_state(end: JobEnd) -> EndState:
    """Returns the state of an ended job in the ledger."""
    return "cancelled" if end.cancelled else "failed" if end.failed else "completed"

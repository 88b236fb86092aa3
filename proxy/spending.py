"""The caller's money, before and after the upstream call: reserved, then settled by what became of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from proxy.budgets import Budget, InFlight, WhenAway, charges, seats
from proxy.errors import BudgetExceeded, RateLimited, Refusal, StoreAway
from proxy.identity import Caller
from proxy.ledger import Entry, Ledger, Shortfall, Standing
from proxy.outcomes import Outcome
from proxy.ownership import Grant
from proxy.policy import Payload
from proxy.prices import MICRO, Micros, Price


@dataclass(frozen=True, slots=True)
class Terms:
    """How reservations end. *reservation*: seconds after which an outcome nobody reported counts as spent.

    *by* "billable" takes fal's x-fal-billable-units times *unit_price* for the amount, where fal tells it.
    """

    reservation: float = 86_400.0
    by: Literal["price", "billable"] = "price"
    unit_price: float = 1.0
    refund_failed: bool = True


@dataclass(frozen=True, slots=True)
class Ticket:
    """The proof that a request's price is reserved, or that none is asked (*ledger* is None).

    *observed* names the allowances in observe mode that would have refused.
    """

    id: str
    ledger: Ledger | None
    observed: tuple[str, ...] = ()


class Spending:
    """*local* keeps the allowances that are to be counted in this process while *ledger* is away.

    *away* is told each time a settlement could not be written: the sweep will count that reservation as spent.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        local: Ledger,
        budgets: tuple[Budget, ...],
        in_flight: tuple[InFlight, ...],
        prices: Mapping[str, Price],
        terms: Terms,
        clock: Callable[[], float],
        away: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._local = local
        self._budgets = budgets
        self._in_flight = in_flight
        self._prices = prices
        self._terms = terms
        self._clock = clock
        self._away = away

    async def reserve(self, ticket: str, grant: Grant, payload: Payload) -> Ticket:
        """Raises BudgetExceeded, RateLimited (jobs in flight), StoreAway, and ValidationFailed for want of a price."""
        entry = self._entry(grant, payload)
        if not entry.charges and not entry.seats:
            return Ticket(ticket, None)
        try:
            return await self._reserve_in(self._ledger, ticket, entry)
        except StoreAway:
            if "deny" in _behaviours(entry):
                raise
        local = _only_local(entry)
        if not local.charges and not local.seats:
            return Ticket(ticket, None)
        return await self._reserve_in(self._local, ticket, local)

    async def conclude(self, ticket: Ticket, outcome: Outcome, job: str | None) -> None:
        """What became of the submit. An unknown outcome keeps the reservation until it is swept."""
        if ticket.ledger is None or outcome is Outcome.UNKNOWN:
            return
        try:
            if outcome is Outcome.ACCEPTED and job is not None:
                await ticket.ledger.accept(ticket.id, job, now=self._clock())
            elif outcome is not Outcome.ACCEPTED:
                await ticket.ledger.refund(ticket.id, now=self._clock())
        except StoreAway:
            self._away()

    async def ended(self, job: str, *, failed: bool, units: float | None) -> None:
        """A job was seen at its end. Where fal's units decide and are not told yet, only its seats are freed."""
        try:
            for ledger in (self._ledger, self._local):
                if failed and self._terms.refund_failed:
                    await ledger.settle(job, amount=0, now=self._clock())
                elif self._terms.by == "price" or failed:
                    await ledger.settle(job, amount=None, now=self._clock())
                elif units is None:
                    await ledger.release(job, now=self._clock())
                else:
                    await ledger.settle(job, amount=self._amount(units), now=self._clock())
        except StoreAway:
            self._away()

    async def cancelled(self, job: str) -> None:
        """fal took the job out of its queue before it ran."""
        try:
            for ledger in (self._ledger, self._local):
                await ledger.settle(job, amount=0, now=self._clock())
        except StoreAway:
            self._away()

    async def standings(self, caller: Caller, endpoints: tuple[str, ...]) -> tuple[Standing, ...]:
        """Each allowance the caller draws on through *endpoints*, once. Raises StoreAway."""
        now = self._clock()
        drawn = {c.account: c for endpoint in endpoints for c in charges(self._budgets, caller, endpoint, now)}
        held = {s.account: s for endpoint in endpoints for s in seats(self._in_flight, caller, endpoint)}
        return await self._ledger.standings(tuple(drawn.values()), tuple(held.values()), now=now)

    def _entry(self, grant: Grant, payload: Payload) -> Entry:
        endpoint = payload.endpoint
        drawn = charges(self._budgets, grant.caller, endpoint, self._clock())
        return Entry(
            caller=grant.caller.key,
            endpoint=endpoint,
            amount=self._prices[endpoint].of(payload.value) if drawn else 0,
            charges=drawn,
            seats=seats(self._in_flight, grant.caller, endpoint),
            ttl=self._terms.reservation,
        )

    async def _reserve_in(self, ledger: Ledger, ticket: str, entry: Entry) -> Ticket:
        now = self._clock()
        said = await ledger.reserve(ticket, entry, now=now)
        if isinstance(said, Shortfall):
            raise _refusal(said, now)
        return Ticket(ticket, ledger, tuple(shortfall.name for shortfall in said.observed))

    def _amount(self, units: float) -> Micros:
        return math.ceil(units * self._terms.unit_price * MICRO)


def _behaviours(entry: Entry) -> set[WhenAway]:
    return {charge.when_away for charge in entry.charges} | {seat.when_away for seat in entry.seats}


def _only_local(entry: Entry) -> Entry:
    return replace(
        entry,
        charges=tuple(charge for charge in entry.charges if charge.when_away == "local"),
        seats=tuple(seat for seat in entry.seats if seat.when_away == "local"),
    )


def _refusal(shortfall: Shortfall, now: float) -> Refusal:
    if shortfall.kind == "in-flight":
        return RateLimited(
            f"{shortfall.limit} jobs are in flight already ({shortfall.name})",
            retry_after=1,
            error_type="too_many_jobs",
        )
    renews = "" if shortfall.renews_at is None else f", renews at {_rfc3339(shortfall.renews_at)}"
    return BudgetExceeded(
        f"Budget {shortfall.name} is spent: {_units(shortfall.left)} of {_units(shortfall.limit)} left{renews}"
    )


def _units(amount: Micros) -> str:
    return f"{amount / MICRO:g}"


def _rfc3339(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

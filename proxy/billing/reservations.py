"""The caller's allowances, before and after the upstream call: spent first, then settled by what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from proxy.auth.authorization import Grant
from proxy.auth.caller import Caller
from proxy.billing.budgets import Budget, InFlightLimit, charges, slots
from proxy.billing.ledger.interface import (
    AllowanceStatus,
    Granted,
    Ledger,
    LimitExceeded,
    OnStoreError,
    ReservationRequest,
)
from proxy.billing.ledger.money import micros
from proxy.billing.pricing import Price
from proxy.billing.shortfalls import limit_exceeded_error
from proxy.errors import Forbidden, Refusal, StoreAway
from proxy.payload.body import Payload
from proxy.ratelimit.rate_limiter import Quota, RateLimiter
from proxy.upstream.job_end import JobEnd
from proxy.upstream.outcomes import Outcome


@dataclass(frozen=True, slots=True)
class SettlementPolicy:
    """How reservations end. *reservation*: seconds after which an outcome nobody reported counts as spent.

    *by* "billable" takes fal's x-fal-billable-units times *unit_price* for the amount, where fal tells it.
    """

    reservation: float = 86_400.0
    settle_by: Literal["price", "billable"] = "price"
    unit_price: float = 1.0
    refund_failed: bool = True

    def amount_due(self, ending: JobEnd) -> int | None:
        """In micros; None: what was reserved."""
        if ending.cancelled or (ending.failed and self.refund_failed):
            return 0
        if ending.failed or self.settle_by == "price" or ending.units is None:
            return None
        return micros(ending.units * self.unit_price)

    def awaits_units(self, ending: JobEnd) -> bool:
        """Whether fal has yet to tell the units that the amount hangs on."""
        return self.settle_by == "billable" and ending.units is None and not ending.cancelled and not ending.failed


@dataclass(frozen=True, slots=True)
class Reservation:
    """The proof that a submit was counted and its price reserved; *ledger* is None where it draws on no allowance.

    *quota* says what the short windows leave, *observed* which allowances in observe mode would have refused.
    """

    id: str
    quota: Quota
    ledger: Ledger | None = None
    observed: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[tuple[bytes, bytes], ...]:
        """What the answer tells of it."""
        return (*self.quota.headers, *would_deny(self.observed))


class Accounting:
    """*local* counts in this process what is set to be counted here while *ledger* is away.

    *away* is told each time a settlement could not be written: the sweep will count that reservation as spent.
    """

    def __init__(
        self,
        limiter: RateLimiter,
        ledger: Ledger,
        *,
        local: Ledger,
        budgets: tuple[Budget, ...],
        in_flight: tuple[InFlightLimit, ...],
        prices: Mapping[str, Price],
        terms: SettlementPolicy,
        clock: Callable[[], float],
        away: Callable[[], None],
    ) -> None:
        self._limiter = limiter
        self._ledger = ledger
        self._local = local
        self._ledgers = (ledger,) if ledger is local else (local, ledger)
        self._budgets = budgets
        self._in_flight = in_flight
        self._prices = prices
        self._terms = terms
        self._clock = clock
        self._away = away

    async def count_request(self, grant: Grant, address: str) -> Quota:
        """For what costs nothing but a place in the short windows. Raises RateLimited and StoreAway."""
        return await self._limiter.hit(grant.target.action, user=grant.caller.key, address=address)

    async def reserve(self, ticket: str, grant: Grant, payload: Payload, address: str) -> Reservation:
        """All of it or nothing.

        Raises RateLimited (windows, jobs in flight), BudgetExceeded, StoreAway, and ValidationFailed for a payload that
        has no price.
        """
        if not self._budgets and not self._in_flight:
            quota = await self.count_request(grant, address)
            return Reservation(ticket, quota, None, quota.observed)
        entry = self._entry(grant, payload)
        quota = await self.count_request(grant, address)
        try:
            ledger, observed = await self._reserve(ticket, entry)
        except Refusal:
            await self._limiter.undo(grant.target.action, user=grant.caller.key, address=address)
            raise
        return Reservation(ticket, quota, ledger, (*quota.observed, *observed))

    async def settle_submit(self, ticket: Reservation, outcome: Outcome, job: str | None = None) -> None:
        """What became of the submit. An unknown outcome keeps the reservation until it is swept."""
        if ticket.ledger is None or outcome is Outcome.UNKNOWN:
            return
        try:
            if outcome is not Outcome.ACCEPTED:
                await ticket.ledger.refund(ticket.id, now=self._clock())
            elif job is not None:
                await ticket.ledger.accept(ticket.id, job, now=self._clock())
        except StoreAway:
            self._away()

    async def settle_run(self, ticket: Reservation, ending: JobEnd) -> None:
        """A run has ended with its answer, or just so: nobody will hear of it later. Twice: no effect.

        Between its own two steps, and from an ACCEPTED that was settled under `run_of` on, only a sweep ends it: spent.
        """
        if ticket.ledger is None:
            return
        job = run_job_name(ticket)
        try:
            await ticket.ledger.accept(ticket.id, job, now=self._clock())
            await ticket.ledger.settle(job, amount=self._terms.amount_due(ending), now=self._clock())
        except StoreAway:
            self._away()

    async def settle_job(self, job: str, ending: JobEnd) -> None:
        """A job was seen at its end."""
        if not self._budgets and not self._in_flight:
            return
        for ledger in self._ledgers:
            try:
                await self._end_in(ledger, job, ending)
            except StoreAway:
                self._away()

    async def settle_from_webhook(self, ticket: str, job: str, ending: JobEnd) -> None:
        """As `end`, told by fal itself: perhaps sooner than its answer to the submit, or where that never came.

        Raises StoreAway, so that fal tells it again.
        """
        if not self._budgets and not self._in_flight:
            return
        for ledger in self._ledgers:
            await ledger.accept(ticket, job, now=self._clock())
            await self._end_in(ledger, job, ending)

    async def allowances(self, caller: Caller, endpoints: tuple[str, ...]) -> tuple[AllowanceStatus, ...]:
        """Each allowance the caller draws on through *endpoints*, once. Raises StoreAway."""
        now = self._clock()
        drawn = {c.account: c for endpoint in endpoints for c in charges(self._budgets, caller, endpoint, now)}
        held = {s.account: s for endpoint in endpoints for s in slots(self._in_flight, caller, endpoint)}
        told = await self._ledger.statuses(tuple(drawn.values()), tuple(held.values()), now=now)
        named = [replace(s, endpoint=c.endpoint) for s, c in zip(told, drawn.values(), strict=False)]
        return (*named, *told[len(named) :])

    async def aclose(self) -> None:
        for ledger in self._ledgers:
            await ledger.aclose()

    async def sweep(self) -> int:
        """Counts reservations past their time as spent; how many. Raises StoreAway."""
        return sum([await ledger.sweep(now=self._clock()) for ledger in self._ledgers])

    def _entry(self, grant: Grant, payload: Payload) -> ReservationRequest:
        endpoint = payload.endpoint
        drawn = charges(self._budgets, grant.caller, endpoint, self._clock())
        return ReservationRequest(
            caller=grant.caller.key,
            endpoint=endpoint,
            amount=self._prices[endpoint].evaluate(payload.value) if drawn else 0,
            charges=drawn,
            slots=slots(self._in_flight, grant.caller, endpoint),
            ttl=self._terms.reservation,
        )

    async def _reserve(self, ticket: str, entry: ReservationRequest) -> tuple[Ledger | None, tuple[str, ...]]:
        if not entry.charges and not entry.slots:
            return None, ()
        try:
            return self._ledger, await self._reserve_in(self._ledger, ticket, entry)
        except StoreAway:
            if "deny" in _behaviours(entry):
                raise
        entry = _only_local(entry)
        if not entry.charges and not entry.slots:
            return None, ()
        return self._local, await self._reserve_in(self._local, ticket, entry)

    async def _reserve_in(self, ledger: Ledger, ticket: str, entry: ReservationRequest) -> tuple[str, ...]:
        now = self._clock()
        result = await ledger.reserve(ticket, entry, now=now)
        if isinstance(result, LimitExceeded):
            raise limit_exceeded_error(result)
        if not isinstance(result, Granted):
            raise Forbidden("The operator has blocked this user", error_type="user_blocked")
        return tuple(shortfall.name for shortfall in result.observed)

    async def _end_in(self, ledger: Ledger, job: str, ending: JobEnd) -> None:
        now = self._clock()
        if self._terms.awaits_units(ending):
            await ledger.release(job, now=now)  # the result will tell fal's units, or else the sweep settles
        else:
            await ledger.settle(job, amount=self._terms.amount_due(ending), now=now)


def run_job_name(ticket: Reservation) -> str:
    """What a run is called in the ledger: no job's name has a colon."""
    return f"run:{ticket.id}"


def _behaviours(entry: ReservationRequest) -> set[OnStoreError]:
    return {charge.on_store_error for charge in entry.charges} | {seat.on_store_error for seat in entry.slots}


def _only_local(entry: ReservationRequest) -> ReservationRequest:
    return replace(
        entry,
        charges=tuple(charge for charge in entry.charges if charge.on_store_error == "local"),
        slots=tuple(seat for seat in entry.slots if seat.on_store_error == "local"),
    )


def would_deny(observed: Sequence[str]) -> tuple[tuple[bytes, bytes], ...]:
    """The field that tells of allowances in observe mode."""
    return ((b"would-deny", ", ".join(observed).encode("ascii")),) if observed else ()

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
    Call,
    CallNote,
    Granted,
    JobLedger,
    KeyClaim,
    KeyState,
    Ledger,
    LimitExceeded,
    ReservationRequest,
    StoredAnswer,
)
from proxy.billing.ledger.jobs import EndState
from proxy.billing.ledger.money import micros
from proxy.billing.pricing import Price
from proxy.billing.shortfalls import limit_exceeded_error
from proxy.errors import Forbidden, OutcomeUnknown, Refusal, StoreAway
from proxy.fal_api.operations import Action
from proxy.limit_modes import OnStoreError
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
    """Proof that a call was counted and its price reserved; *ledger* is None where it draws on no limit.

    *quota* holds what the short windows leave, *observed* the limits in observe mode that had no room. *request* is
    what was reserved. *calls* is the same ledger where it keeps notes of calls.
    """

    id: str
    quota: Quota
    ledger: Ledger | None = None
    observed: tuple[str, ...] = ()
    request: ReservationRequest | None = None
    calls: JobLedger | None = None

    @property
    def fields(self) -> tuple[tuple[bytes, bytes], ...]:
        """Response fields about it."""
        return (*self.quota.headers, *would_deny(self.observed)) if self.observed else self.quota.headers


@dataclass(frozen=True, slots=True)
class Earlier:
    """Earlier call that a repeat gets the answer of, by its key or by its fingerprint. Nothing was reserved."""

    quota: Quota
    ledger: Ledger
    request: ReservationRequest
    state: Call | KeyState | StoredAnswer
    calls: JobLedger | None = None


class Accounting:
    """Windows, budgets and slots of all calls.

    *local* counts in this process where *ledger* does not answer and a limit allows that. *call_seconds*: how long a
    call of each action may take, after which the slots of one that was not accepted are free. *away* is called each
    time a settlement could not be written: the sweep will count that reservation as spent.
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
        call_seconds: Mapping[Action, float] | None = None,
    ) -> None:
        self._limiter = limiter
        self._ledger = ledger
        self._local = local
        self._ledgers = (ledger,) if ledger is local else (local, ledger)
        self._calls = {id(one): one if isinstance(one, JobLedger) else None for one in self._ledgers}
        self._budgets = budgets
        self._in_flight = in_flight
        self._prices = prices
        self._terms = terms
        self._clock = clock
        self._away = away
        self._call_seconds = call_seconds or {}

    async def count_request(self, grant: Grant, address: str) -> Quota:
        """Counts a request that only draws on the short windows. Raises RateLimited and StoreAway."""
        return await self._limiter.hit(grant.target.action, user=grant.caller.key, address=address)

    async def reserve(self, call_id: str, grant: Grant, payload: Payload, address: str) -> Reservation:
        """Reserves for a call that cannot be repeated. Raises as `reserve_call`."""
        reservation = await self.reserve_call(call_id, grant, payload, address)
        if isinstance(reservation, Earlier):  # never without note and claim
            raise OutcomeUnknown(reason="the call was made before")
        return reservation

    async def reserve_call(
        self,
        call_id: str,
        grant: Grant,
        payload: Payload,
        address: str,
        *,
        note: CallNote | None = None,
        claim: KeyClaim | None = None,
    ) -> Reservation | Earlier:
        """Counts the request and reserves the price, all of it or nothing; or finds the call that this one repeats.

        Raises RateLimited (windows, jobs in flight), BudgetExceeded, Forbidden, StoreAway, and ValidationFailed for a
        payload that has no price.
        """
        request = self._request(grant, payload, note, claim)
        quota = await self._limiter.hit(grant.target.action, user=grant.caller.key, address=address)
        try:
            return await self._reserve(call_id, request, quota)
        except Refusal:
            await self._limiter.undo(grant.target.action, user=grant.caller.key, address=address)
            raise

    async def look_again(self, call_id: str, earlier: Earlier) -> Reservation | Earlier:
        """Returns the present state of an earlier call, or the reservation where that call came to nothing.

        Raises as `reserve_call`.
        """
        calls, state = earlier.calls, earlier.state
        if isinstance(state, Call) and earlier.request.claim is None and calls is not None:
            call = await calls.call(state.id, now=self._clock())
            if call is not None:
                return replace(earlier, state=call)
        return await self._reserve(call_id, earlier.request, earlier.quota)

    async def settle_submit(self, reservation: Reservation, outcome: Outcome, job: str | None = None) -> None:
        """Writes the outcome of a submit. An unknown outcome keeps the reservation until it is swept."""
        if reservation.ledger is None or outcome is Outcome.UNKNOWN:
            return
        try:
            if outcome is not Outcome.ACCEPTED:
                await reservation.ledger.refund(reservation.id, now=self._clock())
            elif job is not None:
                await reservation.ledger.accept(reservation.id, job, now=self._clock())
        except StoreAway:
            self._away()

    async def begin_stream(self, reservation: Reservation) -> None:
        """Keeps reservation and slots of a stream, which may last longer than a call, until it is settled."""
        if reservation.calls is None:
            await self.settle_submit(reservation, Outcome.ACCEPTED, run_job_name(reservation))

    async def settle_run(self, reservation: Reservation, end: JobEnd) -> None:
        """Ends a call without a job by its answer. The second time it has no effect."""
        ledger, now = reservation.ledger, self._clock()
        amount = self._terms.amount_due(end)
        try:
            if reservation.calls is not None:
                await reservation.calls.settle_call(reservation.id, amount=amount, state=_end_state(end), now=now)
            elif ledger is not None:
                await ledger.accept(reservation.id, run_job_name(reservation), now=now)
                await ledger.settle(run_job_name(reservation), amount=amount, now=now)
        except StoreAway:
            self._away()

    async def settle_job(self, job: str, ending: JobEnd) -> None:
        """A job was seen at its end."""
        for ledger in self._ledgers:
            try:
                await self._end_in(ledger, job, ending)
            except StoreAway:
                self._away()

    async def settle_from_webhook(self, ticket: str, job: str, ending: JobEnd) -> None:
        """As `end`, told by fal itself: perhaps sooner than its answer to the submit, or where that never came.

        Raises StoreAway, so that fal tells it again.
        """
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

    def _request(
        self, grant: Grant, payload: Payload, note: CallNote | None, claim: KeyClaim | None
    ) -> ReservationRequest:
        endpoint = payload.endpoint
        drawn = charges(self._budgets, grant.caller, endpoint, self._clock())
        return ReservationRequest(
            caller=grant.caller.key,
            endpoint=endpoint,
            amount=self._prices[endpoint].evaluate(payload.value) if drawn else 0,
            charges=drawn,
            slots=slots(self._in_flight, grant.caller, endpoint),
            ttl=self._terms.reservation,
            call_seconds=self._call_seconds.get(grant.target.action),
            note=note,
            claim=claim,
        )

    async def _reserve(self, call_id: str, request: ReservationRequest, quota: Quota) -> Reservation | Earlier:
        if not request.charges and not request.slots and request.note is None and request.claim is None:
            return Reservation(call_id, quota, None, quota.observed)
        try:
            return await self._reserve_in(self._ledger, call_id, request, quota)
        except StoreAway:
            if request.claim is not None or "deny" in _behaviours(request):
                raise
        request = _only_local(request)
        if not request.charges and not request.slots:
            return Reservation(call_id, quota, None, quota.observed)
        return await self._reserve_in(self._local, call_id, request, quota)

    async def _reserve_in(
        self, ledger: Ledger, call_id: str, request: ReservationRequest, quota: Quota
    ) -> Reservation | Earlier:
        now, calls = self._clock(), self._calls[id(ledger)]
        if request.claim is not None and calls is None:
            claim = request.claim
            state = await ledger.claim_key(
                claim.key, claim.body_hash, owner=call_id, now=now, ttl=claim.ttl, hold=claim.hold
            )
            if state is not KeyState.FRESH:
                return Earlier(quota, ledger, request, state)
        result = await ledger.reserve(call_id, request, now=now)
        if request.claim is not None and calls is None and not isinstance(result, Granted):
            await ledger.free_key(request.claim.key, owner=call_id)
        match result:
            case Granted():
                observed = quota.observed
                if result.observed:
                    observed += tuple(shortfall.name for shortfall in result.observed)
                return Reservation(call_id, quota, ledger, observed, request, calls)
            case LimitExceeded():
                raise limit_exceeded_error(result)
            case Call() | KeyState() | StoredAnswer():
                return Earlier(quota, ledger, request, result, calls)
            case _:
                raise Forbidden("The operator has blocked this user", error_type="user_blocked")

    async def _end_in(self, ledger: Ledger, job: str, ending: JobEnd) -> None:
        now = self._clock()
        if self._terms.awaits_units(ending):
            await ledger.release(job, now=now)  # the result will tell fal's units, or else the sweep settles
        else:
            amount = self._terms.amount_due(ending)
            await ledger.settle(job, amount=amount, state=_end_state(ending), now=now)


def run_job_name(reservation: Reservation) -> str:
    """Returns the name of a run in a ledger that knows jobs alone: no job's name has a colon."""
    return f"run:{reservation.id}"


def _end_state(end: JobEnd) -> EndState:
    return "cancelled" if end.cancelled else "failed" if end.failed else "completed"


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

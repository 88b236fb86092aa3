"""Accounting of calls: windows, budgets and slots, reserved before a call and settled by its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from proxy.auth.authorization import Grant
from proxy.auth.caller import Caller
from proxy.billing.accounting_events import AccountingEvents, JobLooks
from proxy.billing.budgets import Budget, InFlightLimit, charges, slots
from proxy.billing.ledger.interface import (
    AllowanceStatus,
    Call,
    CallNote,
    Granted,
    KeyClaim,
    KeyState,
    Ledger,
    LimitExceeded,
    ReservationRequest,
    ReserveResult,
    StoredAnswer,
)
from proxy.billing.ledger.jobs import Cursor, JobRecord, JobState
from proxy.billing.ledger.running_jobs import RunningJobs
from proxy.billing.pricing import Price
from proxy.billing.quotes import Quotation, price_field, quotation
from proxy.billing.settlement_policy import SettlementPolicy, end_state
from proxy.billing.shortfalls import limit_exceeded_error, slot_account, would_deny
from proxy.billing.store_keys import StoreKeys, limited_request
from proxy.errors import Forbidden, OutcomeUnknown, Refusal, StoreAway
from proxy.fal_api.operations import Action
from proxy.limit_modes import OnStoreError
from proxy.payload.body import Payload
from proxy.ratelimit.rate_limiter import Quota, RateLimiter
from proxy.upstream.job_end import JobEnd
from proxy.upstream.outcomes import Outcome

SHARED_LIMIT_RETRY = 5.0  # seconds until a caller tries a full limit again that all callers share
SWEEP_BATCH = 1_000  # reservations that one step of a sweep ends
UNCHARGED_TTL = 3_600.0  # seconds that a call without budgets and slots stays open where its end is not seen


@dataclass(slots=True)
class Reservation:
    """Proof that a call was counted and its price reserved; *ledger* is None where it draws on no limit.

    *quota* holds what the short windows leave, *observed* the limits in observe mode that had no room. *request* is
    what was reserved.
    """

    id: Final[str]
    quota: Final[Quota]
    ledger: Final[Ledger | None] = None
    observed: Final[tuple[str, ...]] = ()
    request: Final[ReservationRequest | None] = None

    @property
    def fields(self) -> tuple[tuple[bytes, bytes], ...]:
        """Response fields about it."""
        return (*self.quota.headers, *would_deny(self.observed)) if self.observed else self.quota.headers


@dataclass(frozen=True, slots=True)
class Earlier:
    """Earlier call, found by key or fingerprint, that a repeat gets the answer of. Nothing was reserved."""

    quota: Quota
    ledger: Ledger
    request: ReservationRequest
    state: Call | KeyState | StoredAnswer
    caller: Caller


class Accounting:
    """Windows, budgets and slots of all calls.

    *local* counts in this process where *ledger* does not answer and a limit allows that. *call_seconds*: longest time
    of a call of each action; then the slots of one that was not accepted are free. *keys* makes the keys of callers
    in stores. Set *looks* to have unfinished jobs looked at before a limit of jobs in flight refuses.
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
        policy: SettlementPolicy,
        clock: Callable[[], float],
        events: AccountingEvents,
        call_seconds: Mapping[Action, float] | None = None,
        keys: StoreKeys | None = None,
        expose_price: bool = False,
    ) -> None:
        self.looks: JobLooks | None = None
        self._limiter = limiter
        self._ledger = ledger
        self._local = local
        self._ledgers = (ledger,) if ledger is local else (local, ledger)
        self._budgets = budgets
        self._in_flight = in_flight
        self._looked_at = frozenset(rule.name for rule in in_flight if rule.per != "global")
        self._prices = prices
        self._policy = policy
        self._clock = clock
        self._events = events
        self._uncharged_ttl = min(policy.reservation, UNCHARGED_TTL)
        self._call_seconds = call_seconds or {}
        self._expose_price = expose_price
        self._keys = keys or StoreKeys()
        self._charges = partial(charges, budgets, keys=self._keys)
        self._slots = partial(slots, in_flight, keys=self._keys)
        self._running = RunningJobs(clock)

    def count_request(self, grant: Grant, address: str) -> Awaitable[Quota]:
        """Counts a request in the short windows. Raises RateLimited and StoreAway."""
        return self._limiter.hit(grant.target.action, limited_request(self._keys, grant, address))

    def count_payload(self, grant: Grant, address: str) -> Awaitable[Quota]:
        """Counts a request before its body is parsed. Raises RateLimited, also for too many refused payloads."""
        return self._limiter.hit_payload(grant.target.action, limited_request(self._keys, grant, address))

    async def count_refused(self, grant: Grant, address: str, refusal: Refusal) -> None:
        """Takes a counted request back, as `RateLimiter.refuse`. Raises RateLimited."""
        limited = limited_request(self._keys, grant, address)
        await self._limiter.refuse(grant.target.action, limited, refusal.status)

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
        quota: Quota | None = None,
    ) -> Reservation | Earlier:
        """Counts the request and reserves the price, all of it or nothing.

        Or finds the call that this one repeats. A request with a *quota* was counted before, and is taken back here
        where the reservation is refused.

        Raises RateLimited (windows, jobs in flight), BudgetExceeded, Forbidden, StoreAway, and ValidationFailed for a
        payload that has no price.
        """
        if quota is None:
            quota = await self.count_request(grant, address)
        try:
            request = self._request(grant, payload, address, note, claim)
            return await self._reserve(call_id, request, quota, grant.caller)
        except Refusal as refusal:
            await self.count_refused(grant, address, refusal)
            raise

    async def look_again(self, call_id: str, earlier: Earlier) -> Reservation | Earlier:
        """Returns the present state of an earlier call, or the reservation where that call came to nothing.

        Raises as `reserve_call`, and OutcomeUnknown where the store is away: a repeat would be a second call.
        """
        state = earlier.state
        if isinstance(state, Call) and earlier.request.claim is None:
            try:
                call = await earlier.ledger.call(state.id, now=self._clock())
            except StoreAway as error:
                raise OutcomeUnknown(reason=f"the earlier call cannot be read: {error.reason}") from error
            if call is not None:
                return replace(earlier, state=call)
        return await self._reserve(call_id, earlier.request, earlier.quota, earlier.caller)

    async def settle_submit(
        self, reservation: Reservation, outcome: Outcome, job: str | None = None, *, key_alias: str = ""
    ) -> None:
        """Writes the outcome of a submit. An unknown outcome keeps the reservation until it is swept."""
        if reservation.ledger is None or outcome is Outcome.UNKNOWN:
            return
        try:
            if outcome is not Outcome.ACCEPTED:
                await reservation.ledger.refund(reservation.id, now=self._clock())
            elif job is not None:
                await reservation.ledger.accept(reservation.id, job, key_alias=key_alias, now=self._clock())
        except StoreAway:
            self._events.lost()

    async def settle_run(self, reservation: Reservation, end: JobEnd) -> None:
        """Ends a call without a job by its answer. The second time it has no effect."""
        self._running.discard(reservation.id)
        if reservation.ledger is None:
            return
        amount = self._policy.amount_due(end, "" if reservation.request is None else reservation.request.app)
        try:
            await reservation.ledger.settle_call(reservation.id, amount=amount, state=end_state(end), now=self._clock())
        except StoreAway:
            self._events.lost()

    async def settle_job(self, job: str, end: JobEnd) -> None:
        """Settles a job that an answer of fal's showed at its end."""
        for ledger in self._ledgers:
            try:
                await self._end_in(ledger, job, end)
            except StoreAway:
                self._events.lost()

    async def set_running(self, name: str) -> None:
        """Records that a job runs, or a call without one, once for each in this process."""
        if not self._running.add(name):
            return
        try:
            for ledger in self._ledgers:
                await ledger.set_running(name, now=self._clock())
        except StoreAway:
            self._running.discard(name)

    async def settle_from_webhook(self, call_id: str, job: str, end: JobEnd, *, key_alias: str = "") -> None:
        """Settles a job by fal's webhook, which may come before the answer to the submit, or without one.

        It returns once the settlement will survive the process. Raises StoreAway: then fal sends the webhook again.
        """
        for ledger in self._ledgers:
            await ledger.accept(call_id, job, key_alias=key_alias, now=self._clock())
            await self._end_in(ledger, job, end)
            await ledger.flush()

    async def allowances(
        self, caller: Caller, endpoints: tuple[str, ...], address: str = ""
    ) -> tuple[AllowanceStatus, ...]:
        """Returns the state of each limit that the caller falls under through *endpoints*, once.

        Raises StoreAway.
        """
        now = self._clock()
        by_account = {
            charge.account: charge
            for endpoint in endpoints
            for charge in self._charges(caller, endpoint, now, address=address)
        }
        slots_by_account = {
            slot.account: slot for one in endpoints for slot in self._slots(caller, one, address=address)
        }
        statuses = await self._ledger.statuses(tuple(by_account.values()), tuple(slots_by_account.values()), now=now)
        budgets = [
            replace(status, endpoint=charge.endpoint)
            for status, charge in zip(statuses, by_account.values(), strict=False)
        ]
        return (*budgets, *statuses[len(budgets) :])

    async def quote(self, grant: Grant, payload: Payload, address: str) -> Quotation:
        """Returns what a submit would reserve, and what its budgets have left before it. Reserves nothing.

        Raises ValidationFailed for a payload that has no price, and StoreAway.
        """
        request = self._request(grant, payload, address, None, None)
        price = self._prices.get(payload.endpoint)
        amount = request.amount if request.charges or price is None else price.evaluate(payload.value)
        statuses = await self._ledger.statuses(request.charges, request.slots, now=self._clock())
        return quotation(request, amount, statuses)

    async def jobs(
        self, caller: Caller, *, states: frozenset[JobState], limit: int, before: Cursor | None = None
    ) -> tuple[JobRecord, ...]:
        """Returns the caller's own calls, newest first. Raises StoreAway."""
        return await self._ledger.jobs(self._keys.key(caller.key), states=states, limit=limit, before=before)

    def is_overdue(self, record: JobRecord) -> bool:
        """Returns whether an open call without a job is older than a call may take. A stream is not."""
        is_open = record.job is None and record.ended is None and record.state == "queued"
        return is_open and self._clock() > record.created + max(self._call_seconds.values(), default=float("inf"))

    async def aclose(self) -> None:
        for ledger in self._ledgers:
            await ledger.aclose()

    async def sweep(self) -> int:
        """Counts reservations past their time as spent, and returns how many. Raises StoreAway."""
        total = 0
        for ledger in self._ledgers:
            while True:
                swept = await ledger.sweep(now=self._clock(), limit=SWEEP_BATCH)
                total += swept
                if swept < SWEEP_BATCH:
                    break
        return total

    def _request(
        self, grant: Grant, payload: Payload, address: str, note: CallNote | None, claim: KeyClaim | None
    ) -> ReservationRequest:
        caller, endpoint = grant.caller, payload.endpoint
        charged = self._charges(caller, endpoint, self._clock(), address=address) if self._budgets else ()
        occupied = self._slots(caller, endpoint, address=address) if self._in_flight else ()
        return ReservationRequest(
            self._keys.key(caller.key),
            endpoint,
            self._prices[endpoint].evaluate(payload.value) if charged else 0,
            charged,
            occupied,
            self._policy.reservation if charged or occupied else self._uncharged_ttl,
            self._call_seconds.get(grant.target.action),
            note,
            claim,
        )

    async def _reserve(
        self, call_id: str, request: ReservationRequest, quota: Quota, caller: Caller
    ) -> Reservation | Earlier:
        if not request.charges and not request.slots and request.note is None and request.claim is None:
            return Reservation(call_id, quota, None, quota.observed)
        try:
            result = await self._ledger.reserve(call_id, request, now=self._clock())
            if isinstance(result, Granted):
                return self._granted(self._ledger, result, call_id, request, quota, caller)
            return await self._concluded(self._ledger, result, call_id, request, quota, caller)
        except StoreAway:
            if request.claim is not None or "deny" in _behaviours(request):
                raise
        request = request.only_local()
        if not request.charges and not request.slots:
            return Reservation(call_id, quota, None, quota.observed)
        result = await self._local.reserve(call_id, request, now=self._clock())
        return await self._concluded(self._local, result, call_id, request, quota, caller)

    def _granted(
        self, ledger: Ledger, granted: Granted, call_id: str, request: ReservationRequest, quota: Quota, caller: Caller
    ) -> Reservation:
        observed = quota.observed
        if granted.observed:
            observed += tuple(short.name for short in granted.observed)
        for crossing in granted.crossed:
            self._events.crossed(crossing, caller)
        if self._expose_price and request.charges:
            quota = replace(quota, headers=(*quota.headers, price_field(request.amount)))
        return Reservation(call_id, quota, ledger, observed, request)

    async def _concluded(
        self,
        ledger: Ledger,
        result: ReserveResult,
        call_id: str,
        request: ReservationRequest,
        quota: Quota,
        caller: Caller,
    ) -> Reservation | Earlier:
        """Returns the reservation, or the earlier call. The oldest jobs of a full limit are looked at first."""
        if isinstance(result, LimitExceeded) and result.kind == "in-flight" and await self._look(result, request):
            result = await ledger.reserve(call_id, request, now=self._clock())
        match result:
            case Granted():
                return self._granted(ledger, result, call_id, request, quota, caller)
            case LimitExceeded():
                raise await self._refusal(result, request, caller)
            case Call() | KeyState() | StoredAnswer():
                return Earlier(quota, ledger, request, result, caller)
            case _:
                raise Forbidden("The operator has blocked this user", error_type="user_blocked")

    async def _look(self, short: LimitExceeded, request: ReservationRequest) -> bool:
        """Returns True where a slot of the full limit has become free."""
        if self.looks is None or short.name not in self._looked_at:
            return False
        return await self.looks.look_at_oldest(slot_account(short, request))

    async def _refusal(self, short: LimitExceeded, request: ReservationRequest, caller: Caller) -> Refusal:
        for crossing in short.crossed:
            self._events.crossed(crossing, caller)
        if short.kind == "budget":
            return limit_exceeded_error(short, price=request.amount)
        if self.looks is None or short.name not in self._looked_at:
            return limit_exceeded_error(short, retry_after=SHARED_LIMIT_RETRY)
        return limit_exceeded_error(short, retry_after=await self.looks.next_look(slot_account(short, request)))

    async def _end_in(self, ledger: Ledger, job: str, end: JobEnd) -> None:
        self._running.discard(job)
        now = self._clock()
        if self._policy.awaits_units(end):
            await ledger.release(job, now=now)  # the result has the units; without it the sweep settles
        else:
            amount = self._policy.amount_due(end, app=job.rpartition("/")[0])
            await ledger.settle(job, amount=amount, state=end_state(end), now=now)


def _behaviours(request: ReservationRequest) -> set[OnStoreError]:
    return {charge.on_store_error for charge in request.charges} | {slot.on_store_error for slot in request.slots}

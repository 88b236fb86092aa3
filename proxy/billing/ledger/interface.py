"""Ledger interface and its value types. Implementations: sqlite_ledger, redis.ledger.

Every method that changes something takes *now*, unix seconds, and is one atomic step. It happens whole or not at all,
also when its task is cancelled. A store that does not answer in time raises StoreAway; the step may then have happened.
For every enforced charge, as long as its limit is not changed: 0 <= used + reserved <= limit + credit, at any time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import Enum
from typing import Final, Literal, Protocol

from proxy.billing.ledger.jobs import Credit, Cursor, EndState, ForgottenUser, JobRecord, JobState, LedgerStats, Row
from proxy.billing.ledger.money import Micros
from proxy.fal_api.endpoint_ids import app_id
from proxy.limit_modes import OnStoreError


@dataclass(frozen=True, slots=True)
class Charge:
    """Draw on one budget account.

    Used + reserved of its buckets from *oldest* on, plus the price, must not exceed *limit*. *current* is the bucket
    that is charged. Buckets newer than it count as well: a clock that was set back gives no budget back. *renews_at* is
    None for a window without an end. *ttl*: seconds that the bucket is needed. *endpoint*: set where the budget counts
    each endpoint separately. *thresholds*: percentages of *limit* to report.
    """

    budget: str
    account: str
    current: int
    oldest: int
    limit: Micros
    renews_at: float | None
    ttl: float
    enforce: bool
    on_store_error: OnStoreError = "deny"
    endpoint: str | None = None
    thresholds: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class InFlightSlot:
    """Draw on one in-flight limit: live slots of *account*, plus one, <= *limit*. *lease* in seconds."""

    name: str
    account: str
    limit: int
    lease: float
    enforce: bool
    on_store_error: OnStoreError = "deny"


class CallNote:
    """Identity of a call by which a repeat joins it after its caller's connection was lost.

    *fingerprint* is the digest of caller, method, endpoint, operation, query, payload and options. It may be the
    function that makes it, because a ledger in memory needs it of lost calls only. A lost call can be joined for
    *rejoin_seconds*; with 0 the note is written and this call joins none.
    """

    __slots__ = ("_fingerprint", "rejoin_seconds")

    def __init__(self, fingerprint: str | Callable[[], str], rejoin_seconds: float) -> None:
        self._fingerprint = fingerprint
        self.rejoin_seconds = rejoin_seconds

    @property
    def fingerprint(self) -> str:
        if not isinstance(self._fingerprint, str):
            self._fingerprint = self._fingerprint()
        return self._fingerprint


@dataclass(frozen=True, slots=True)
class KeyClaim:
    """Claim of an Idempotency-Key in the step of the reservation, which becomes its owner.

    Seconds: see `claim_key`.
    """

    key: str
    body_hash: str
    ttl: float
    hold: float


@dataclass(slots=True)
class ReservationRequest:
    """Request to pay for one call.

    *ttl*: seconds after which an outcome that nothing reported counts as spent.

    *call_seconds*: a slot ends after this unless the call was accepted; None: after its lease.
    """

    caller: Final[str]
    endpoint: Final[str]
    amount: Final[Micros]
    charges: Final[tuple[Charge, ...]]
    slots: Final[tuple[InFlightSlot, ...]]
    ttl: Final[float]
    call_seconds: Final[float | None] = None
    note: Final[CallNote | None] = None
    claim: Final[KeyClaim | None] = None

    @property
    def app(self) -> str:
        """The app of the endpoint, as jobs are named by it; "uploads" and "realtime" have none."""
        return app_id(self.endpoint) if "/" in self.endpoint else self.endpoint

    def only_local(self) -> ReservationRequest:
        """Returns the request with the limits alone that one process may count by itself."""
        charges = tuple(charge for charge in self.charges if charge.on_store_error == "local")
        return replace(
            self, charges=charges, slots=tuple(slot for slot in self.slots if slot.on_store_error == "local")
        )


@dataclass(frozen=True, slots=True)
class Crossing:
    """Threshold that a budget reached: used + reserved is *percent* of *limit* or more, once a bucket."""

    budget: str
    account: str
    percent: int
    limit: Micros


@dataclass(frozen=True, slots=True)
class LimitExceeded:
    """Limit without room: *left* of *limit*, in millionths of a unit or in jobs.

    *renews_at* is None where no time brings any back. *crossed* holds 100 for the first refusal of a bucket, where the
    charge has that threshold.
    """

    kind: Literal["budget", "in-flight"]
    name: str
    limit: int
    left: int
    renews_at: float | None
    crossed: tuple[Crossing, ...] = ()


@dataclass(frozen=True, slots=True)
class Granted:
    """Reservation made. *observed*: limits in observe mode without room; they were charged all the same."""

    observed: tuple[LimitExceeded, ...] = ()
    crossed: tuple[Crossing, ...] = ()


class Blocked(Enum):
    """Refusal of a caller whom the operator has blocked."""

    BLOCKED = "blocked"


class KeyState(Enum):
    """State of an idempotency key without an answer."""

    FRESH = "fresh"  # claimed by this call: go on, then store or free it
    BUSY = "busy"  # another call with this key is under way: try again
    MISMATCH = "mismatch"  # used before with another body
    UNKNOWN = "unknown"  # the call that had claimed it ended without an outcome


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """Answer stored under an idempotency key, opaque to the ledger."""

    answer: bytes


@dataclass(frozen=True, slots=True)
class Call:
    """Earlier call that a repeat gets the answer of.

    *job* is set once fal accepted it, *answer* once one was stored. *alive* is False where the worker that made the
    call has ended: without job and answer its outcome is then unknown.
    """

    id: str
    job: str | None
    key_alias: str
    created: float
    answer: bytes | None
    alive: bool


@dataclass(frozen=True, slots=True)
class AllowanceStatus:
    """State of one limit; of slots *used* is the jobs in flight and *reserved* is 0.

    *credit*: left beyond *limit*.

    The ledger does not set *endpoint*.
    """

    name: str
    limit: int
    used: int
    reserved: int
    renews_at: float | None
    endpoint: str | None = None
    credit: Micros = 0
    kind: Literal["budget", "in-flight"] = "budget"


@dataclass(frozen=True, slots=True)
class DailyUsage:
    """One day (UTC) of one caller on one endpoint.

    Amounts in millionths; *submits* counts reservations made.
    """

    day: date
    caller: str
    endpoint: str
    submits: int
    used: Micros
    reserved: Micros
    refunded: Micros
    unsettled: Micros
    overrun: Micros


ReserveResult = Granted | LimitExceeded | Blocked | KeyState | StoredAnswer | Call


class Ledger(Protocol):
    async def start(self, *, now: float) -> None:
        """Opens the store. Until it returns every other method raises StoreAway.

        Raises ValueError, naming the store, where it cannot be used (another process has it, another schema).
        """

    async def reserve(self, call_id: str, request: ReservationRequest, *, now: float) -> ReserveResult:
        """Decides and reserves in one step. Nothing is written unless Granted is returned.

        In this order: the id is open already: its first result. The caller is blocked: Blocked. The claimed key is not
        fresh: its KeyState, StoredAnswer or, once accepted or where its worker has ended, Call. A lost call with the
        fingerprint of the note: that Call, the oldest first; it leaves the queue. No room: LimitExceeded for the first
        enforced charge, then slot. Else Granted, with claim and note written.
        """

    async def accept(self, call_id: str, job: str, *, key_alias: str = "", now: float) -> None:
        """Records that fal accepted the call as *job*. The amount stays reserved, slots get their whole lease.

        No effect for an unknown id, for a job that has one, and the second time.
        """

    async def refund(self, call_id: str, *, now: float) -> None:
        """Removes the reservation of a call that fal certainly did not accept.

        Amount, slots, note and unanswered key claim go with it.

        No effect for an unknown or ended id, and the second time.
        """

    async def settle(self, job: str, *, amount: Micros | None, state: EndState = "completed", now: float) -> bool:
        """Ends *job*: *amount* (None: the reserved one) is spent, at most what was reserved; slots are freed.

        What exceeds the reservation is recorded as overrun. 0 is a refund. True the first time only.
        """

    async def release(self, job: str, *, now: float) -> None:
        """Frees the slots of *job*, and nothing else."""

    async def flush(self) -> None:
        """Returns once every earlier step of this process will survive its end. Raises StoreAway."""

    async def sweep(self, *, now: float, limit: int = 1000) -> int:
        """Ends up to *limit* reservations past their ttl as spent and unsettled, and returns how many.

        Drops old slots, keys, buckets, days and job records. The time used is at most an hour after that of the
        sweep before, so a clock that jumped ahead erases nothing.
        """

    async def statuses(
        self, charges: tuple[Charge, ...], slots: tuple[InFlightSlot, ...], *, now: float
    ) -> tuple[AllowanceStatus, ...]:
        """Returns one for each charge, then one for each slot."""

    async def report(self, *, since: date, until: date) -> tuple[DailyUsage, ...]:
        """Returns all days from *since* to *until*, both included, by day, caller and endpoint."""

    async def claim_key(
        self, key: str, body_hash: str, *, owner: str, now: float, ttl: float, hold: float
    ) -> KeyState | StoredAnswer:
        """Claims *key* for *owner*: FRESH for the first.

        One neither stored nor freed within *hold* is UNKNOWN.

        Keys are forgotten *ttl* seconds after they were claimed or stored.
        """

    async def store_answer(self, key: str, answer: bytes, *, owner: str, now: float, ttl: float) -> None:
        """Stores the answer for all later claims of *key*.

        No effect unless *owner* holds its unanswered claim.
        """

    async def free_key(self, key: str, *, owner: str) -> None:
        """Makes the next claim FRESH again. No effect unless *owner* holds the unanswered claim."""

    async def settle_call(
        self, call_id: str, *, amount: Micros | None, state: EndState = "completed", now: float
    ) -> bool:
        """Ends a call that has no job (a run), as `settle` does."""

    def end_note(self, call_id: str) -> None:
        """Records that the caller has its answer. Returns at once; written with the next step of this process."""

    async def mark_lost(self, call_id: str, note: CallNote, *, now: float) -> None:
        """Puts a call whose caller was lost before its answer at the end of the queue of its fingerprint."""

    async def answer_call(self, call_id: str, answer: bytes, *, now: float, ttl: float) -> None:
        """Stores the answer of a lost call without a job (a run's, or an unknown outcome) for *ttl* seconds."""

    async def call(self, call_id: str, *, now: float) -> Call | None:
        """Returns a call under way or lost; None once it was refunded or is too old."""

    async def set_running(self, name: str, *, now: float) -> None:
        """Records that an open job runs, or a call without one (a stream). No effect the second time.

        Such a call is queued again once its process has ended.
        """

    async def jobs(
        self, caller: str, *, states: frozenset[JobState], limit: int, before: Cursor | None = None
    ) -> tuple[JobRecord, ...]:
        """Returns a caller's calls with a state in *states*, newest first, older than *before*."""

    async def open_calls(self, *, limit: int) -> tuple[int, tuple[JobRecord, ...]]:
        """Returns how many calls of all callers are not over, and the newest *limit* of them, newest first."""

    async def job(self, name: str) -> JobRecord | None:
        """Returns the record of a job or a reservation id."""

    async def take_due(self, *, now: float, limit: int) -> tuple[JobRecord, ...]:
        """Takes open jobs whose next look is due, holders of full slots first; each is due again by `looks`."""

    async def take_oldest(self, account: str, *, now: float, limit: int, apart: float) -> tuple[JobRecord, ...]:
        """Takes up to *limit* of the oldest open jobs with a slot of *account*, each every *apart* seconds."""

    async def next_look(self, account: str, *, now: float, apart: float) -> float:
        """Returns the seconds until a job that holds a slot of *account* may be looked at again."""

    async def refund_ended(self, job: str, *, now: float) -> bool:
        """Gives back the price of an ended job, where its bucket still counts. True the first time only."""

    async def grant_credit(self, credit: Credit, *, now: float) -> None:
        """Adds a credit.

        A charge without room draws on its account's credits, the one that expires first first.
        """

    async def credits(self, account: str | None, *, now: float) -> tuple[Credit, ...]:
        """Returns the credits of one account, or all, with something left and not expired."""

    async def set_blocked(self, caller: str, blocked: bool, *, now: float) -> None:
        """Blocks a caller's new calls, or admits them again."""

    async def blocked_callers(self, callers: Sequence[str]) -> frozenset[str]:
        """Returns those of *callers* that are blocked."""

    async def reset(self, accounts: Iterable[str], *, now: float) -> int:
        """Sets used to 0 in all buckets of *accounts*, and returns how much that was. Reservations stay."""

    async def forget(self, user: ForgottenUser, *, now: float) -> int:
        """Removes what is stored of a user. Returns the number of open calls; if any, nothing was changed."""

    def dump(self) -> AsyncIterator[Row]:
        """Yields everything in the ledger, for `ledger migrate` and `backup`. Tables and columns: `records`."""

    async def load(self, rows: AsyncIterator[Row], *, now: float) -> int:
        """Fills an empty ledger with the rows of a `dump`, and returns how many.

        Raises ValueError if not empty.
        """

    async def ping(self) -> None:
        """Raises StoreAway."""

    async def warnings(self) -> tuple[str, ...]:
        """Returns settings of the store that may lose data, for the log. Raises StoreAway."""

    def notices(self) -> tuple[str, ...]:
        """Returns conditions that last, for the readiness detail: lost data, a damaged table, a full disk."""

    def stats(self) -> LedgerStats: ...

    async def aclose(self) -> None: ...

"""Mutable records of the ledger's state. Each is one row of its journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from proxy.billing.ledger.interface import Call, Granted
from proxy.billing.ledger.jobs import Credit, ForgottenUser, JobRecord, JobState
from proxy.billing.ledger.money import Micros

# What one budget account pays of a reservation: account, bucket, amount from the bucket, and amounts from credits.
# A tuple, as the slots of a reservation, because the garbage collector skips tuples of plain values. With objects in
# their place 50,000 open jobs made a step a third dearer.
ChargePart = tuple[str, int, Micros, tuple[tuple[str, Micros], ...]]


@dataclass(slots=True, eq=False)
class Bucket:
    """Sums of one window of one account. *alerted*: the highest threshold that was reported, in percent."""

    used: Micros = 0
    reserved: Micros = 0
    until: float = 0.0
    alerted: int = 0


@dataclass(slots=True, eq=False)
class CreditRecord:
    """Credit of one account, as `interface.Credit`."""

    id: str
    account: str
    amount: Micros
    left: Micros
    expires: float | None

    def is_usable(self, now: float) -> bool:
        return self.left > 0 and (self.expires is None or self.expires > now)

    def value(self) -> Credit:
        return Credit(self.id, self.account, self.amount, self.left, self.expires)


@dataclass(slots=True, eq=False)
class Reservation:
    """Reservation whose amount or slots are not free yet.

    *slots*: account, end and lease of each. *open* is False once the amount was settled by a sweep.
    *due* and *looked*: times of the next and the last status request by the reconciler.
    """

    id: str
    caller: str
    endpoint: str
    day: str
    amount: Micros
    created: float
    until: float
    parts: tuple[ChargePart, ...]
    slots: tuple[tuple[str, float, float], ...]
    result: Granted
    key: str | None = None
    job: str | None = None
    key_alias: str = ""
    running: bool = False
    open: bool = True
    due: float = 0.0
    looked: float = 0.0

    def record(self) -> JobRecord:
        """Returns the line item of an open reservation."""
        state: JobState = "running" if self.running else "queued"
        return JobRecord(
            self.id, self.job, self.key_alias, self.caller, self.endpoint, state, self.amount, None, self.created, None
        )

    def ended_record(self, state: JobState, price: Micros, now: float) -> JobRecord:
        """Returns the line item of the reservation when it ends."""
        return JobRecord(
            self.id, self.job, self.key_alias, self.caller, self.endpoint, state, self.amount, price, self.created, now
        )


@dataclass(frozen=True, slots=True)
class EndedJob:
    """Line item of an ended call, and what it takes to give its price back."""

    record: JobRecord
    day: str
    parts: tuple[ChargePart, ...]
    refunded: bool = False

    def as_refunded(self) -> EndedJob:
        """Returns the line item after the operator gave its price back."""
        return EndedJob(replace(self.record, price=0), self.day, self.parts, refunded=True)


@dataclass(slots=True, eq=False)
class Note:
    """Call whose caller does not have its answer yet.

    *lost_at*: when its connection ended, None while it is joined.
    """

    id: str
    fingerprint: str
    rejoin: float
    worker: str
    created: float
    lost_at: float | None = None
    job: str | None = None
    key_alias: str = ""

    def value(self, worker: str, answer: bytes | None) -> Call:
        """Returns the call as seen by *worker*, the only one that is alive."""
        return Call(self.id, self.job, self.key_alias, self.created, answer, self.worker == worker)


@dataclass(slots=True, eq=False)
class KeyRecord:
    """Claim of an idempotency key. *held_until*: without an answer its outcome is unknown from then on."""

    key: str
    body_hash: str
    owner: str
    held_until: float
    until: float
    created: float
    worker: str
    answer: bytes | None = None
    job: str | None = None
    key_alias: str = ""

    @property
    def is_answered(self) -> bool:
        return self.answer is not None or self.job is not None


@dataclass(slots=True)
class Changes:
    """Changes since the last journal group.

    Records stand for the row they are at the time of writing, None for its removal: written twice they change
    nothing. *days* holds differences, in the order of the sums of `DailyUsage`, by day, caller and endpoint.
    *forgotten*: users whose other rows go last. *drop_before*: time before which old keys, days and jobs are removed.
    """

    reservations: dict[str, Reservation | None] = field(default_factory=dict)
    notes: dict[str, Note | None] = field(default_factory=dict)
    keys: dict[str, KeyRecord | None] = field(default_factory=dict)
    buckets: dict[tuple[str, int], Bucket | None] = field(default_factory=dict)
    credits: dict[str, CreditRecord | None] = field(default_factory=dict)
    blocked: dict[str, bool] = field(default_factory=dict)
    ended: dict[str, EndedJob] = field(default_factory=dict)
    days: dict[tuple[str, str, str], list[int]] = field(default_factory=dict)
    forgotten: dict[str, ForgottenUser] = field(default_factory=dict)
    drop_before: float | None = None

    def __bool__(self) -> bool:
        return self.drop_before is not None or any(
            (
                self.reservations,
                self.notes,
                self.keys,
                self.buckets,
                self.credits,
                self.blocked,
                self.ended,
                self.days,
                self.forgotten,
            )
        )

    def add_to_day(
        self,
        line: tuple[str, str, str],
        *,
        submits: int = 0,
        used: Micros = 0,
        reserved: Micros = 0,
        refunded: Micros = 0,
        unsettled: Micros = 0,
        overrun: Micros = 0,
    ) -> None:
        """Adds to the sums of *line*: day, caller and endpoint."""
        sums = self.days.get(line)
        if sums is None:
            self.days[line] = [submits, used, reserved, refunded, unsettled, overrun]
            return
        sums[0] += submits
        sums[1] += used
        sums[2] += reserved
        sums[3] += refunded
        sums[4] += unsettled
        sums[5] += overrun

    def clear(self) -> None:
        """Forgets all changes."""
        for records in (self.reservations, self.notes, self.keys, self.buckets, self.credits, self.blocked):
            if records:
                records.clear()
        self.ended.clear()
        self.days.clear()
        self.forgotten.clear()
        self.drop_before = None

    def take(self) -> Changes:
        """Returns the changes so far, and starts over."""
        changes = replace(self)
        fresh = Changes()
        for name in self.__slots__:
            setattr(self, name, getattr(fresh, name))
        return changes

    def put_back(self, earlier: Changes, *, days: bool) -> None:
        """Takes up *earlier* ones whose group may have failed. *days*: also their differences."""
        self.reservations = earlier.reservations | self.reservations
        self.notes = earlier.notes | self.notes
        self.keys = earlier.keys | self.keys
        self.buckets = earlier.buckets | self.buckets
        self.credits = earlier.credits | self.credits
        self.blocked = earlier.blocked | self.blocked
        self.ended = earlier.ended | self.ended
        self.forgotten = earlier.forgotten | self.forgotten
        if self.drop_before is None:
            self.drop_before = earlier.drop_before
        if days:
            self.add_days(earlier.days)

    def add_days(self, days: Mapping[tuple[str, str, str], Sequence[int]]) -> None:
        """Adds the sums of several lines."""
        for line, sums in days.items():
            self.add_to_day(line, **dict(zip(_SUMS, sums, strict=True)))


_SUMS = ("submits", "used", "reserved", "refunded", "unsettled", "overrun")

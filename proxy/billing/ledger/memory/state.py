"""State of a ledger in memory: every decision about reservations, keys, calls and jobs. Pure.

Each method is one step of `interface.Ledger`, and records in `changes` what it changed. A step takes O(log n) in the
number of open jobs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from math import inf

from proxy.billing.ledger.interface import (
    AllowanceStatus,
    Blocked,
    Call,
    CallNote,
    Charge,
    Crossing,
    Granted,
    InFlightSlot,
    KeyState,
    LimitExceeded,
    ReservationRequest,
    ReserveResult,
)
from proxy.billing.ledger.jobs import EndState, ForgottenUser, JobRecord, Row
from proxy.billing.ledger.memory import rows
from proxy.billing.ledger.memory.archive import Archive
from proxy.billing.ledger.memory.buckets import Buckets
from proxy.billing.ledger.memory.idempotency import Keys
from proxy.billing.ledger.memory.notes import Notes
from proxy.billing.ledger.memory.open_jobs import OpenJobs
from proxy.billing.ledger.memory.records import Changes, ChargePart, EndedJob, Note, Reservation
from proxy.billing.ledger.money import Micros

GRACE = 3600.0  # seconds that buckets and slots stay after their end, for a clock that is set back
MAX_STEP = 3600.0  # seconds that the time of a sweep may be after that of the one before
MAX_CAPPED = 60  # sweeps in a row after which a clock that jumped ahead is taken to be right
ANSWER_PREFIX = "call:"  # of the keys under which the answers of lost calls are stored


class LedgerState:
    """State of the ledger of one process, named *worker*: all others have ended.

    Without a journal no call outlives the process, so that a call has a note from its loss on, not from its start.
    """

    def __init__(self, archive: Archive, worker: str, *, has_journal: bool) -> None:
        self.changes = Changes()
        self.keys = Keys(self.changes, archive, worker)
        self.notes = Notes(self.changes, worker)
        self.buckets = Buckets(self.changes)
        self.open_jobs = OpenJobs(self.changes, self.buckets)
        self.blocked: set[str] = set()
        self.unsettled = 0
        self._archive = archive
        self._worker = worker
        self._has_journal = has_journal
        self._clock: float | None = None
        self._capped = 0

    def reserve(self, call_id: str, request: ReservationRequest, now: float) -> ReserveResult:
        """Raises ValueError for a negative amount, an account twice, and a time that is not a number."""
        if request.amount < 0 or not now < inf or len(request.charges) > 1:
            _check(request, now)
        self._clock = now if self._clock is None else self._clock
        earlier = self._earlier(call_id, request, now)
        if earlier is not None:
            return earlier
        if not request.charges and not request.slots:
            return self._grant(call_id, request, (), (), now)
        parts: list[ChargePart] = []
        observed: list[LimitExceeded] = []
        for charge in request.charges:
            part, short = self.buckets.part(charge, request.amount, now)
            if short is not None and charge.enforce:
                return self._refused(charge, short, request.amount)
            parts.append(part)
            observed += [] if short is None else [short]
        for slot in request.slots:
            if self.open_jobs.slots.live(slot.account, now) < slot.limit:
                continue
            full = LimitExceeded("in-flight", slot.name, slot.limit, 0, None)
            if slot.enforce:
                self.open_jobs.hurry(slot.account)
                return full
            observed.append(full)
        return self._grant(call_id, request, tuple(parts), tuple(observed), now)

    def accept(self, call_id: str, job: str, key_alias: str, now: float) -> None:
        reservation = self.open_jobs.get(call_id)
        if reservation is None or not self.open_jobs.accept(reservation, job, key_alias):
            return
        self.notes.accept(call_id, job, key_alias)
        if reservation.key is not None:
            self.keys.accept(reservation.key, call_id, job, key_alias, now)

    def refund(self, call_id: str) -> None:
        reservation = self.open_jobs.get(call_id)
        if reservation is None or not reservation.open:
            return
        self.notes.end(call_id)
        if reservation.key is not None:
            self.keys.free(reservation.key, call_id)
        self.open_jobs.refund(reservation)

    def settle(self, job: str, amount: Micros | None, state: EndState, now: float) -> bool:
        return self._settle(self.open_jobs.by_job(job), amount, state, now)

    def settle_call(self, call_id: str, amount: Micros | None, state: EndState, now: float) -> bool:
        return self._settle(self.open_jobs.get(call_id), amount, state, now)

    def release(self, job: str) -> None:
        reservation = self.open_jobs.by_job(job)
        if reservation is not None:
            self.open_jobs.release(reservation)

    def sweep(self, now: float, limit: int) -> int:
        assumed = self._clock = self._sweep_time(now)
        swept = 0
        while swept < limit and (overdue := self.open_jobs.pop_overdue(assumed)) is not None:
            swept += 1
            self.notes.drop_open(overdue.id)
            self.unsettled += bool(overdue.parts)
        self.open_jobs.drop_ended_slots(assumed - GRACE, limit)
        self.buckets.drop_ended(assumed - GRACE, limit)
        self.notes.drop_ended(assumed, limit)
        self.keys.drop_unheld(assumed, limit)
        self.changes.drop_before = assumed
        return swept

    def statuses(
        self, charges: Iterable[Charge], slots: Iterable[InFlightSlot], now: float
    ) -> tuple[AllowanceStatus, ...]:
        live = self.open_jobs.slots.live
        budgets = (
            AllowanceStatus(
                charge.budget,
                charge.limit,
                *self.buckets.totals(charge),
                charge.renews_at,
                credit=self.buckets.credit_left(charge.account, now),
            )
            for charge in charges
        )
        in_flight = (
            AllowanceStatus(slot.name, slot.limit, live(slot.account, now), 0, None, kind="in-flight") for slot in slots
        )
        return (*budgets, *in_flight)

    def lose(self, call_id: str, note: CallNote, now: float) -> None:
        """Puts a call whose caller's connection ended into the queue of its fingerprint."""
        self.notes.lose(call_id, note, now=now, record=self.job(call_id))

    def answer_call(self, call_id: str, answer: bytes, now: float, ttl: float) -> None:
        self.keys.put_answer(f"{ANSWER_PREFIX}{call_id}", answer, owner=call_id, now=now, ttl=ttl)

    def call(self, call_id: str, now: float) -> Call | None:
        note = self.notes.get(call_id)
        return None if note is None else self._call(note, now)

    def job(self, name: str) -> JobRecord | None:
        """Returns the record of a job or a reservation id, open or ended."""
        reservation = self.open_jobs.by_job(name) or self.open_jobs.get(name)
        if reservation is not None and reservation.open:
            return reservation.record()
        ended = self._ended(name)
        return None if ended is None else ended.record

    def dump(self) -> Iterator[Row]:
        """Yields the rows of all that is open; the archive has the others."""
        yield from (rows.dump_row("reservation", rows.reservation_values(one)) for one in self.open_jobs)
        yield from (rows.dump_row("note", rows.note_values(one)) for one in self.notes)
        yield from (rows.dump_row("bucket", rows.bucket_values(*key, one)) for key, one in self.buckets.items())
        yield from (rows.dump_row("credit", rows.credit_values(one)) for one in self.buckets.all_credits())
        yield from (rows.dump_row("blocked", (caller,)) for caller in self.blocked)

    def load(self, table: str, values: rows.Values, now: float) -> None:
        """Takes in a row of the journal or of a dump that is open."""
        match table:
            case "reservation":
                self.open_jobs.restore(rows.read_reservation(values))
            case "note":
                self.notes.restore([rows.read_note(values)], now)
            case "bucket":
                self.buckets.restore(*rows.read_bucket(values))
            case "credit":
                self.buckets.restore_credit(rows.read_credit(values))
            case "blocked":
                self.blocked.add(str(values[0]))

    def refund_ended(self, job: str) -> bool:
        """Gives back the price of an ended job, once."""
        ended = self._ended(job)
        if ended is None or ended.refunded:
            return False
        record, price = ended.record, ended.record.price or 0
        for part in ended.parts:
            self.buckets.give_back(part, price)
        self.changes.ended[record.id] = ended.as_refunded()
        self.changes.add_to_day((ended.day, record.caller, record.endpoint), used=-price, refunded=price)
        return True

    def forget(self, user: ForgottenUser) -> int:
        """Removes what is stored of *user*, unless it has open calls. Returns their number."""
        count = len(self.open_jobs.by_caller(user.caller))
        if not count:
            self.buckets.forget(user)
            self.changes.forgotten[user.caller] = user
        return count

    def set_blocked(self, caller: str, blocked: bool) -> None:
        (self.blocked.add if blocked else self.blocked.discard)(caller)
        self.changes.blocked[caller] = blocked

    def _sweep_time(self, now: float) -> float:
        """Returns the time of a sweep at *now*: a jump ahead counts once MAX_CAPPED sweeps have seen it."""
        if self._clock is None or now <= self._clock + MAX_STEP or self._capped >= MAX_CAPPED:
            self._capped = 0
            return now
        self._capped += 1
        return self._clock + MAX_STEP

    def _settle(self, reservation: Reservation | None, amount: Micros | None, state: EndState, now: float) -> bool:
        if reservation is None:
            return False
        self.notes.keep(reservation.id, reservation.until)
        return self.open_jobs.settle(reservation, amount, state, now)

    def _earlier(self, call_id: str, request: ReservationRequest, now: float) -> ReserveResult | None:
        reservation = self.open_jobs.get(call_id)
        if reservation is not None:
            return reservation.result
        if request.caller in self.blocked:
            return Blocked.BLOCKED
        if request.claim is not None:
            state = self.keys.check(request.claim.key, request.claim.body_hash, now)
            return None if state is KeyState.FRESH else state
        if request.note is None or request.note.rejoin_seconds <= 0:
            return None
        note = self.notes.take(request.note, now)
        return None if note is None else self._call(note, now)

    def _refused(self, charge: Charge, short: LimitExceeded, amount: Micros) -> LimitExceeded:
        crossed = self.buckets.exhausted(charge, amount)
        if not crossed:
            return short
        return LimitExceeded(short.kind, short.name, short.limit, short.left, short.renews_at, crossed)

    def _grant(
        self,
        call_id: str,
        request: ReservationRequest,
        parts: tuple[ChargePart, ...],
        observed: tuple[LimitExceeded, ...],
        now: float,
    ) -> Granted:
        crossed: tuple[Crossing, ...] = ()
        if parts:
            for charge, part in zip(request.charges, parts, strict=True):
                crossed += self.buckets.reserve(charge, part, now)
        day = _day(now // 86_400)
        reservation = Reservation(
            call_id,
            request.caller,
            request.endpoint,
            day,
            request.amount,
            now,
            now + request.ttl,
            parts,
            _slots(request, now) if request.slots else (),
            Granted(observed) if observed else _GRANTED,
            None if request.claim is None else request.claim.key,
        )
        self.open_jobs.add(reservation)
        if request.claim is not None:
            claim = request.claim
            self.keys.claim(claim.key, claim.body_hash, owner=call_id, now=now, ttl=claim.ttl, hold=claim.hold)
        elif request.note is not None and self._has_journal:
            self.notes.open(call_id, request.note, now=now)
        self.changes.add_to_day((day, request.caller, request.endpoint), submits=1, reserved=request.amount)
        return Granted(observed, crossed) if crossed else reservation.result

    def _call(self, note: Note, now: float) -> Call:
        record = None if note.job is not None else self.job(note.id)
        if record is not None and record.job is not None:
            note.job, note.key_alias = record.job, record.key_alias
        answer = None if note.job is not None else self.keys.get(f"{ANSWER_PREFIX}{note.id}", now)
        return note.value(self._worker, None if answer is None else answer.answer)

    def _ended(self, name: str) -> EndedJob | None:
        for ended in self.changes.ended.values():
            if name in (ended.record.id, ended.record.job):
                return ended
        return self._archive.ended(name)


def _slots(request: ReservationRequest, now: float) -> tuple[tuple[str, float, float], ...]:
    """Returns account, end and lease of each slot; the end is that of the call until its job is accepted."""
    return tuple(
        [
            (slot.account, now + min(slot.lease, request.call_seconds or slot.lease), slot.lease)
            for slot in request.slots
        ]
    )


_GRANTED = Granted()


@lru_cache(maxsize=8)
def _day(number: float) -> str:
    """Returns the day with *number* days since the epoch, as `2026-11-26`."""
    return datetime.fromtimestamp(number * 86_400, UTC).date().isoformat()


def _check(request: ReservationRequest, now: float) -> None:
    if request.amount < 0:
        raise ValueError(f"cannot reserve {request.amount}")
    if not now < inf:
        raise ValueError(f"cannot reserve at {now}: NaN or infinite")
    if len(request.charges) > 1 and len({charge.account for charge in request.charges}) < len(request.charges):
        raise ValueError("a request charges one account twice")

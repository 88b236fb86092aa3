"""Reservations that are not over: their jobs, slots and deadlines. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from proxy.billing.ledger.jobs import EndState, JobRecord
from proxy.billing.ledger.looks import FIRST_LOOK, next_look
from proxy.billing.ledger.memory.buckets import Buckets
from proxy.billing.ledger.memory.deadline_queue import DeadlineQueue
from proxy.billing.ledger.memory.due_jobs import DueJobs
from proxy.billing.ledger.memory.records import Changes, EndedJob, Reservation
from proxy.billing.ledger.memory.slots import Slots
from proxy.billing.ledger.money import MAX_JOB_COST, Micros

MAX_HURRIED = 64  # jobs of a full account that are looked at first; with more, slots come free often enough
MAX_SCANNED = 64  # holders of an account that one look before a refusal goes through


class OpenJobs:
    """Reservations by id and by job. One that a sweep ended stays, not open, until its slots are free."""

    def __init__(self, changes: Changes, buckets: Buckets) -> None:
        self.slots = Slots()
        self._changes = changes
        self._buckets = buckets
        self._reservations: dict[str, Reservation] = {}
        # Returns the reservation with an id, None where there is none.
        self.get: Callable[[str], Reservation | None] = self._reservations.get
        self._jobs: dict[str, Reservation] = {}
        self._callers: dict[str, dict[str, Reservation]] = {}
        self._ends: DeadlineQueue[str] = DeadlineQueue()
        self._due = DueJobs()

    def __len__(self) -> int:
        """Returns the number of open reservations."""
        return len(self._ends)

    def __iter__(self) -> Iterator[Reservation]:
        return iter(self._reservations.values())

    def by_job(self, job: str) -> Reservation | None:
        return self._jobs.get(job)

    def by_caller(self, caller: str) -> list[JobRecord]:
        """Returns the open calls of one caller."""
        return [one.record() for one in self._callers.get(caller, {}).values() if one.open]

    def newest(self, limit: int) -> tuple[JobRecord, ...]:
        """Returns up to *limit* open calls of all callers, the one made last first."""
        calls = (one for one in reversed(self._reservations.values()) if one.open)
        return tuple(one.record() for one in islice(calls, limit))

    def restore(self, reservation: Reservation) -> None:
        """Takes in a reservation from the journal."""
        self._remember(reservation)
        if reservation.open:
            self._ends.put(reservation.id, reservation.until)
        if reservation.job is not None:
            self._jobs[reservation.job] = reservation
        if reservation.job is not None and reservation.open:
            self._due.put(reservation.id, reservation.due, urgent=False)
        for account, until, _ in reservation.slots:
            self.slots.put(account, reservation.id, until)

    def add(self, reservation: Reservation) -> None:
        """Takes in a reservation that was just granted."""
        call_id = reservation.id
        self._remember(reservation)
        self._ends.put(call_id, reservation.until)
        for account, until, _ in reservation.slots:
            self.slots.put(account, call_id, until)
        self._changes.reservations[call_id] = reservation

    def hurry(self, account: str) -> None:
        """Makes the jobs of an account that refused a call urgent."""
        if self.slots.count(account) <= MAX_HURRIED:
            for call_id in self.slots.holders(account):
                self._due.hurry(call_id)

    def accept(self, reservation: Reservation, job: str, key_alias: str) -> bool:
        """Records the job of a reservation. False where it has one, or the job has another reservation."""
        if not reservation.open or reservation.job is not None or job in self._jobs:
            return False
        reservation.job, reservation.key_alias = job, key_alias
        reservation.due = reservation.created + FIRST_LOOK
        self._jobs[job] = reservation
        if reservation.slots:
            self._extend_slots(reservation)
        self._due.add(reservation.id, reservation.due)
        self._changes.reservations[reservation.id] = reservation
        return True

    def _extend_slots(self, reservation: Reservation) -> None:
        """Gives each slot the whole lease of an accepted job."""
        slots = tuple((account, reservation.created + lease, lease) for account, _, lease in reservation.slots)
        if slots != reservation.slots:
            reservation.slots = slots
            for account, until, _ in slots:
                self.slots.put(account, reservation.id, until)

    def settle(self, reservation: Reservation, amount: Micros | None, state: EndState, now: float) -> bool:
        """Ends a reservation and frees its slots. True if its amount was not settled before."""
        was_open = reservation.open
        if was_open:
            due = reservation.amount if amount is None else max(0, min(amount, MAX_JOB_COST))
            spent = min(due, reservation.amount)
            self._end(reservation, spent, state, now)
            self._book(reservation, used=spent, overrun=due - spent)
        self.release(reservation)
        return was_open

    def refund(self, reservation: Reservation) -> None:
        """Ends a reservation whose call fal did not accept. It leaves no line item."""
        self._close(reservation, 0)
        self._book(reservation)
        self.release(reservation)

    def release(self, reservation: Reservation) -> None:
        """Frees the slots of a reservation."""
        for account, _, _ in reservation.slots:
            self.slots.remove(account, reservation.id)
        reservation.slots = ()
        self._keep_or_forget(reservation)

    def pop_overdue(self, now: float) -> Reservation | None:
        """Ends one reservation past its ttl as spent, unknown and unsettled, and returns it."""
        due = self._ends.pop_due(now)
        if due is None:
            return None
        reservation = self._reservations[due[0]]
        self._end(reservation, reservation.amount, "unknown", now)
        self._book(reservation, used=reservation.amount, unsettled=reservation.amount)
        self._keep_or_forget(reservation)
        return reservation

    def drop_ended_slots(self, now: float, limit: int) -> None:
        """Frees up to *limit* slots whose lease is over."""
        for _ in range(limit):
            ended = self.slots.pop_ended(now)
            if ended is None:
                return
            reservation = self._reservations[ended[1]]
            reservation.slots = tuple(slot for slot in reservation.slots if slot[0] != ended[0])
            self._keep_or_forget(reservation)

    def set_running(self, name: str) -> None:
        reservation = self._jobs.get(name) or self._reservations.get(name)
        if reservation is not None and reservation.open and not reservation.running:
            reservation.running = True
            self._changes.reservations[reservation.id] = reservation

    def count_due(self, now: float) -> int:
        """Returns how many jobs are due for a look."""
        return self._due.count_due(now)

    def take_due(self, now: float, limit: int) -> tuple[JobRecord, ...]:
        """Returns up to *limit* jobs whose next look is due, and makes each due again by `looks`."""
        records: list[JobRecord] = []
        while len(records) < limit and (call_id := self._due.pop(now)) is not None:
            records.append(self._look(self._reservations[call_id], now))
        return tuple(records)

    def take_oldest(self, account: str, now: float, limit: int, apart: float) -> tuple[JobRecord, ...]:
        """Returns the oldest open jobs of *account* that were not looked at for *apart* seconds."""
        ready = [one for one in self._holders(account) if now - one.looked >= apart]
        return tuple(self._look(reservation, now) for reservation in ready[:limit])

    def next_look(self, account: str, now: float, apart: float) -> float:
        """Returns the seconds until `take_oldest` may return one of *account*."""
        return max(0.0, min((one.looked + apart - now for one in self._holders(account)), default=apart))

    def _remember(self, reservation: Reservation) -> None:
        self._reservations[reservation.id] = reservation
        self._callers.setdefault(reservation.caller, {})[reservation.id] = reservation

    def _holders(self, account: str) -> list[Reservation]:
        holders = (self._reservations[call_id] for call_id in islice(self.slots.holders(account), MAX_SCANNED))
        return [one for one in holders if one.open and one.job is not None]

    def _look(self, reservation: Reservation, now: float) -> JobRecord:
        reservation.looked = now
        reservation.due = next_look(reservation.created, now)
        self._due.put(reservation.id, reservation.due, urgent=False)
        self._changes.reservations[reservation.id] = reservation
        return reservation.record()

    def _end(self, reservation: Reservation, spent: Micros, state: EndState, now: float) -> None:
        self._close(reservation, spent)
        record = reservation.ended_record(state, spent, now)
        self._changes.ended[reservation.id] = EndedJob(record, reservation.day, reservation.parts)

    def _close(self, reservation: Reservation, spent: Micros) -> None:
        reservation.open = False
        self._ends.discard(reservation.id)
        self._due.discard(reservation.id)
        for part in reservation.parts:
            self._buckets.settle(part, spent)

    def _book(self, reservation: Reservation, *, used: Micros = 0, unsettled: Micros = 0, overrun: Micros = 0) -> None:
        self._changes.add_to_day(
            (reservation.day, reservation.caller, reservation.endpoint),
            used=used,
            reserved=-reservation.amount,
            refunded=reservation.amount - used,
            unsettled=unsettled,
            overrun=overrun,
        )

    def _keep_or_forget(self, reservation: Reservation) -> None:
        if reservation.open or reservation.slots:
            self._changes.reservations[reservation.id] = reservation
            return
        if self._reservations.pop(reservation.id, None) is not None:
            own = self._callers[reservation.caller]
            del own[reservation.id]
            if not own:
                del self._callers[reservation.caller]
        if reservation.job is not None:
            self._jobs.pop(reservation.job, None)
        self._changes.reservations[reservation.id] = None

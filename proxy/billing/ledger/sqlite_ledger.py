"""Ledger of one process: decisions in memory, SQLite as their journal.

With `:memory:` there is no journal.

What was acknowledged is on the disk (synchronous = FULL). Not on a network file system: the lock and SQLite's WAL need
one host.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from datetime import date
from itertools import chain
from typing import TypeVar
from uuid import uuid4

from proxy.billing.ledger.interface import (
    AllowanceStatus,
    Call,
    CallNote,
    Charge,
    DailyUsage,
    Granted,
    InFlightSlot,
    KeyState,
    ReservationRequest,
    ReserveResult,
    StoredAnswer,
)
from proxy.billing.ledger.jobs import (
    Credit,
    Cursor,
    EndState,
    ForgottenUser,
    JobRecord,
    JobState,
    LedgerStats,
    Retention,
    Row,
)
from proxy.billing.ledger.memory.archive import MemoryArchive, newest
from proxy.billing.ledger.memory.rows import load_row
from proxy.billing.ledger.memory.state import LedgerState
from proxy.billing.ledger.money import Micros
from proxy.billing.ledger.sqlite.file import LedgerFile
from proxy.errors import StoreAway

MEMORY = ":memory:"
_RETENTION = Retention()
UNARCHIVED = 64  # changed reservations in memory after which ended ones go to the archive
T = TypeVar("T")


class SqliteLedger:
    """Ledger in the file *path*, or in memory. Raises ValueError for a *path* that cannot hold a ledger.

    *timeout*: seconds that a step waits for the disk. *lock_seconds*: how long `start` waits for another process that
    has the file. *retention*: how long old records stay. *worker* names this process: unanswered claims of another one
    are dead. A reservation or a claim whose caller got no answer, for StoreAway or a cancelled task, is taken back.
    Every other step is done, late if need be. A ledger in memory needs no `start`.
    """

    def __init__(
        self,
        path: str = MEMORY,
        *,
        timeout: float = 2.0,
        lock_seconds: float = 150.0,
        retention: Retention = _RETENTION,
        worker: str | None = None,
    ) -> None:
        self._worker = worker or uuid4().hex
        self._archive = MemoryArchive(retention)
        self._state = LedgerState(self._archive, self._worker, has_journal=False)
        self._file = (
            None
            if path == MEMORY
            else LedgerFile(path, timeout=timeout, lock_seconds=lock_seconds, retention=retention)
        )
        self._closed = False
        self._failures = 0

    async def start(self, *, now: float) -> None:
        if self._file is not None:
            self._state = await self._file.start(self._worker, now)

    async def reserve(self, call_id: str, request: ReservationRequest, *, now: float) -> ReserveResult:
        state = self._ready(queues=True)
        is_new = self._file is not None and state.open_jobs.get(call_id) is None
        # No block of `_reading` here and in `accept`: its context manager costs as much as the step.
        try:
            result = state.reserve(call_id, request, now)
        except sqlite3.Error as error:
            raise self._unreadable(error) from error
        if not is_new or not isinstance(result, Granted):
            self._changed()
            return result
        await self._written(undo=lambda: state.refund(call_id))
        return result

    async def accept(self, call_id: str, job: str, *, key_alias: str = "", now: float) -> None:
        try:
            self._ready().accept(call_id, job, key_alias, now)
        except sqlite3.Error as error:
            raise self._unreadable(error) from error
        if self._file is not None:  # in memory the reservation is among the changes already
            await self._written()

    async def refund(self, call_id: str, *, now: float) -> None:
        with self._reading():
            self._ready().refund(call_id)
        self._changed()

    async def settle(self, job: str, *, amount: Micros | None, state: EndState = "completed", now: float) -> bool:
        settled = self._ready().settle(job, amount, state, now)
        self._changed()
        return settled

    async def settle_call(
        self, call_id: str, *, amount: Micros | None, state: EndState = "completed", now: float
    ) -> bool:
        settled = self._ready().settle_call(call_id, amount, state, now)
        self._changed()
        return settled

    async def release(self, job: str, *, now: float) -> None:
        self._ready().release(job)
        self._changed()

    async def flush(self) -> None:
        self._ready()
        await self._written()

    async def sweep(self, *, now: float, limit: int = 1000) -> int:
        swept = self._ready().sweep(now, limit)
        self._changed()
        return swept

    async def statuses(
        self, charges: tuple[Charge, ...], slots: tuple[InFlightSlot, ...], *, now: float
    ) -> tuple[AllowanceStatus, ...]:
        return self._ready().statuses(charges, slots, now)

    async def report(self, *, since: date, until: date) -> tuple[DailyUsage, ...]:
        self._ready()
        if self._file is None:
            self._archive.apply(self._state.changes)
            return self._archive.report(since, until)
        return await self._file.report(since, until)

    async def claim_key(
        self, key: str, body_hash: str, *, owner: str, now: float, ttl: float, hold: float
    ) -> KeyState | StoredAnswer:
        keys = self._ready(queues=True).keys
        with self._reading():
            state = keys.check(key, body_hash, now)
        if isinstance(state, Call):
            return KeyState.BUSY
        if state is not KeyState.FRESH:
            return state
        keys.claim(key, body_hash, owner=owner, now=now, ttl=ttl, hold=hold)
        await self._written(undo=lambda: keys.free(key, owner))
        return state

    async def store_answer(self, key: str, answer: bytes, *, owner: str, now: float, ttl: float) -> None:
        with self._reading():
            self._ready().keys.store(key, answer, owner=owner, now=now, ttl=ttl)
        await self._written()

    async def free_key(self, key: str, *, owner: str) -> None:
        with self._reading():
            self._ready().keys.free(key, owner)
        self._changed()

    def end_note(self, call_id: str) -> None:
        if self._state.notes.end(call_id):
            self._changed()

    async def mark_lost(self, call_id: str, note: CallNote, *, now: float) -> None:
        with self._reading():
            self._ready().lose(call_id, note, now)
        self._changed()

    async def answer_call(self, call_id: str, answer: bytes, *, now: float, ttl: float) -> None:
        self._ready().answer_call(call_id, answer, now, ttl)
        self._changed()

    async def call(self, call_id: str, *, now: float) -> Call | None:
        with self._reading():
            return self._ready().call(call_id, now)

    async def set_running(self, name: str, *, now: float) -> None:
        self._ready().open_jobs.set_running(name)
        self._changed()

    async def jobs(
        self, caller: str, *, states: frozenset[JobState], limit: int, before: Cursor | None = None
    ) -> tuple[JobRecord, ...]:
        state = self._ready()
        records = {record.id: record for record in await self._ended_jobs(caller, states, limit, before)}
        for record in state.open_jobs.by_caller(caller):
            records[record.id] = record
        return tuple(newest((one for one in records.values() if one.state in states), limit, before))

    async def open_calls(self, *, limit: int) -> tuple[int, tuple[JobRecord, ...]]:
        open_jobs = self._ready().open_jobs
        return len(open_jobs), open_jobs.newest(limit)

    async def job(self, name: str) -> JobRecord | None:
        with self._reading():
            record = self._ready().job(name)
        if record is None and self._file is not None:
            return await self._file.job_by_id(name)
        return record

    async def take_due(self, *, now: float, limit: int) -> tuple[JobRecord, ...]:
        records = self._ready().open_jobs.take_due(now, limit)
        self._changed()
        return records

    def count_due(self, now: float) -> int:
        """Returns how many jobs are due for a look, for a metric."""
        return self._state.open_jobs.count_due(now)

    async def take_oldest(self, account: str, *, now: float, limit: int, apart: float) -> tuple[JobRecord, ...]:
        records = self._ready().open_jobs.take_oldest(account, now, limit, apart)
        self._changed()
        return records

    async def next_look(self, account: str, *, now: float, apart: float) -> float:
        return self._ready().open_jobs.next_look(account, now, apart)

    async def refund_ended(self, job: str, *, now: float) -> bool:
        with self._reading():
            refunded = self._ready().refund_ended(job)
        await self._written()
        return refunded

    async def grant_credit(self, credit: Credit, *, now: float) -> None:
        self._ready().buckets.grant(credit)
        await self._written()

    async def credits(self, account: str | None, *, now: float) -> tuple[Credit, ...]:
        return self._ready().buckets.credits(account, now)

    async def set_blocked(self, caller: str, blocked: bool, *, now: float) -> None:
        self._ready().set_blocked(caller, blocked)
        await self._written()

    async def blocked_callers(self, callers: Sequence[str]) -> frozenset[str]:
        return frozenset(callers) & self._ready().blocked

    async def reset(self, accounts: Iterable[str], *, now: float) -> Micros:
        total = self._ready().buckets.reset(accounts)
        await self._written()
        return total

    async def forget(self, user: ForgottenUser, *, now: float) -> int:
        await self.flush()  # so that no earlier row of the user comes after the removal
        count = self._ready().forget(user)
        await self._written()
        return count

    async def ping(self) -> None:
        self._ready()
        if self._file is not None and self._file.commits is not None:
            await self._file.commits.wait()

    async def warnings(self) -> tuple[str, ...]:
        return ()

    def notices(self) -> tuple[str, ...]:
        return () if self._file is None else self._file.notices()

    def stats(self) -> LedgerStats:
        commits = None if self._file is None else self._file.commits
        return LedgerStats(
            failures=self._failures,
            commits=0 if commits is None else commits.commits,
            commit_seconds=0.0 if commits is None else commits.commit_seconds,
            queue=0 if commits is None else commits.waiting,
            open_jobs=len(self._state.open_jobs),
            unsettled=self._state.unsettled,
        )

    async def dump(self) -> AsyncIterator[Row]:
        self._ready()
        if self._file is None:
            self._archive.apply(self._state.changes)
            for row in chain(self._state.dump(), self._archive.dump()):
                yield row
            return
        await self._written()
        async for row in self._file.dump():
            yield row

    async def load(self, rows: AsyncIterator[Row], *, now: float) -> int:
        state, loaded = self._ready(), [load_row(row) async for row in rows]
        if self._file is not None:
            await self._file.load(loaded)
        else:
            self._archive.apply(state.changes)
            if any(True for _ in chain(state.dump(), self._archive.dump())):
                raise ValueError("the ledger is not empty")
        for table, values in loaded:
            state.load(table, values, now)
            if self._file is None:
                self._archive.load(table, values)
        return len(loaded)

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            if self._file is not None:
                await self._file.aclose()

    def _ready(self, *, queues: bool = False) -> LedgerState:
        """Returns the state.

        Raises StoreAway while the file cannot be used, or *queues* and too many calls wait.
        """
        problem = "closed" if self._closed else None
        if self._file is not None and problem is None:
            problem = self._file.problem(queues=queues)
        if problem is not None:
            raise self._away(f"ledger: {problem}")
        return self._state

    def _changed(self) -> None:
        """Lets changes be written that the caller does not wait for."""
        if self._file is None:
            if len(self._state.changes.reservations) >= UNARCHIVED or self._state.changes.drop_before is not None:
                self._archive.apply(self._state.changes)
        elif self._file.commits is not None and self._state.changes:
            self._file.commits.write_later()

    async def _written(self, *, undo: Callable[[], None] | None = None) -> None:
        """Returns once the changes are on the disk. *undo* takes back what a caller without an answer got."""
        commits = None if self._file is None else self._file.commits
        if commits is None:
            self._changed()
            return
        if not self._state.changes and not commits.is_busy:
            return
        written = False
        try:
            await commits.wait()
            written = True
        except StoreAway:
            self._failures += 1
            raise
        finally:
            if undo is not None and not written:
                undo()
                self._changed()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Turns an error of a read from the file into StoreAway."""
        try:
            yield
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    async def _ended_jobs(
        self, caller: str, states: frozenset[JobState], limit: int, before: Cursor | None
    ) -> list[JobRecord]:
        if self._file is None:
            self._archive.apply(self._state.changes)
            return self._archive.jobs(caller, states, limit, before)
        recent = [*self._state.changes.ended.values()]
        return await self._file.jobs(caller, states, limit, before, recent)

    def _unreadable(self, error: sqlite3.Error) -> StoreAway:
        if self._file is not None:
            self._file.note_error(error)
        return self._away(f"ledger: {error}")

    def _away(self, reason: str) -> StoreAway:
        self._failures += 1
        return StoreAway(reason=reason)

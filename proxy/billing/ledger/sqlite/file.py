"""The file of a SqliteLedger: its lock, its start, its faults, and reads beside the event loop."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing, suppress
from datetime import date
from itertools import islice
from typing import TypeVar

from proxy.billing.ledger.interface import DailyUsage
from proxy.billing.ledger.jobs import Cursor, JobRecord, JobState, Retention, Row
from proxy.billing.ledger.memory.records import EndedJob
from proxy.billing.ledger.memory.rows import Values
from proxy.billing.ledger.memory.state import LedgerState
from proxy.billing.ledger.sqlite.commits import GroupCommit
from proxy.billing.ledger.sqlite.journal import SqliteJournal, dump, read_days, read_job_by_id, read_jobs
from proxy.billing.ledger.sqlite.schema import check_path, damaged_tables, open_readonly, open_writer
from proxy.errors import StoreAway
from proxy.storage.file_lock import FileLock

LOCK_RETRY = 0.1  # seconds between two tries to get the lock
DUMP_BATCH = 1000  # rows read in one turn of a thread
_CORRUPT = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB"})

T = TypeVar("T")


class LedgerFile:
    """One process uses the file at a time: `<path>.lock` is locked from `start` until the process ends."""

    def __init__(self, path: str, *, timeout: float, lock_seconds: float, retention: Retention) -> None:
        check_path(path)
        self.commits: GroupCommit | None = None
        self._path = path
        self._timeout = timeout
        self._lock_seconds = lock_seconds
        self._retention = retention
        self._lock = FileLock(f"{path}.lock")
        self._journal: SqliteJournal | None = None
        self._problem: str | None = "it has not been opened yet"

    async def start(self, worker: str, now: float) -> LedgerState:
        """Takes the lock, opens the file and returns its state. Raises ValueError, naming the file.

        A damaged file is opened, and stays unavailable.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._lock_seconds
        while not self._acquire():
            self._problem = "another process has the file"
            if loop.time() >= deadline:
                raise ValueError(f"the ledger {self._path} is in use by another process")
            await asyncio.sleep(LOCK_RETRY)
        journal, state, damage = await asyncio.to_thread(self._open, worker, now)
        self._journal = journal
        self.commits = GroupCommit(journal, state.changes, timeout=self._timeout, on_error=self.note_error)
        self._problem = damage
        return state

    def problem(self, *, queues: bool) -> str | None:
        """Returns why no step can be taken now. *queues*: of a step that waits for the disk."""
        if self._problem is None and queues and self.commits is not None and self.commits.is_full:
            return "too many calls wait for the disk"
        return self._problem

    def note_error(self, error: sqlite3.Error) -> None:
        """Makes a file that turns out to be damaged unavailable."""
        if error.sqlite_errorname in _CORRUPT:
            self._problem = self._damage() or str(error)

    def notices(self) -> tuple[str, ...]:
        """Returns why the file is unavailable, or the error of the last commit."""
        if self._problem is not None:
            return (f"the ledger is not available: {self._problem}",)
        if self.commits is not None and self.commits.error is not None:
            return (f"the ledger cannot be written: {self.commits.error}",)
        return ()

    async def report(self, since: date, until: date) -> tuple[DailyUsage, ...]:
        """Takes as long as it has lines, and holds up no other step. Raises StoreAway."""
        if self.commits is not None:
            with suppress(StoreAway):
                await self.commits.wait()
        return await self._read(lambda: read_days(self._path, since, until))

    async def jobs(
        self,
        caller: str,
        states: frozenset[JobState],
        limit: int,
        before: Cursor | None,
        recent: Sequence[EndedJob],
    ) -> list[JobRecord]:
        """Returns ended calls of *caller* in the file and among *recent* ones. Raises StoreAway."""
        if self._journal is not None:
            recent = (*self._journal.recently_ended(), *recent)
        found = await self._read(lambda: read_jobs(self._path, caller, states, limit, before))
        return [ended.record for ended in (*found, *recent) if ended.record.caller == caller]

    async def job_by_id(self, call_id: str) -> JobRecord | None:
        """Returns an ended call by the id of its reservation. Raises StoreAway."""
        return await self._read(lambda: read_job_by_id(self._path, call_id))

    async def dump(self) -> AsyncIterator[Row]:
        rows = dump(self._path)
        while batch := await self._read(lambda: list(islice(rows, DUMP_BATCH))):
            for row in batch:
                yield row

    async def load(self, rows: Sequence[tuple[str, Values]]) -> None:
        """Writes the rows of a dump into the empty file. Raises ValueError and StoreAway."""
        journal = self._journal
        if journal is not None:
            try:
                await asyncio.to_thread(journal.load, rows)
            except sqlite3.Error as error:
                raise StoreAway(reason=f"ledger: {error}") from error

    async def aclose(self) -> None:
        if self.commits is not None:
            await self.commits.aclose()
        if self._journal is not None:
            self._journal.close()
        self._lock.release()

    def _acquire(self) -> bool:
        try:
            return self._lock.acquire()
        except OSError as error:
            raise ValueError(f"the ledger {self._path} cannot be locked: {error}") from error

    def _open(self, worker: str, now: float) -> tuple[SqliteJournal, LedgerState, str | None]:
        writer = open_writer(self._path)
        damage = _describe(damaged_tables(writer))
        journal = SqliteJournal(self._path, writer, retention=self._retention, damaged=damage is not None)
        state = LedgerState(journal, worker, has_journal=True)
        if damage is None:
            journal.restore(state, now)
        return journal, state, damage

    def _damage(self) -> str | None:
        with closing(open_readonly(self._path)) as db:
            return _describe(damaged_tables(db))

    async def _read(self, read: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(read)
        except (sqlite3.Error, ValueError) as error:
            raise StoreAway(reason=f"ledger: {error}") from error


def _describe(damage: dict[str, str]) -> str | None:
    if not damage:
        return None
    tables = ", ".join(f"{table} ({finding})" for table, finding in sorted(damage.items()))
    return f"damaged: {tables}; restore a backup, or move the file away"

"""Journal of a ledger in SQLite: writes groups of changes, and reads what the state does not hold."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import date

from proxy.billing.ledger.interface import DailyUsage
from proxy.billing.ledger.jobs import Cursor, JobState, Row
from proxy.billing.ledger.memory import rows
from proxy.billing.ledger.memory.archive import oldest_day
from proxy.billing.ledger.memory.records import Changes, EndedJob, KeyRecord
from proxy.billing.ledger.memory.state import LedgerState
from proxy.billing.ledger.sqlite.schema import open_reader, open_readonly

OPEN_TABLES = ("bucket", "credit", "reservation", "note", "blocked")  # the state holds their rows
DROP_BATCH = 1000  # old rows of a table removed by one group


def _insert(table: str) -> str:
    places = ", ".join("?" * len(rows.COLUMNS[table]))
    return f"INSERT OR REPLACE INTO {table} VALUES ({places})"


_INSERT = {table: _insert(table) for table in rows.COLUMNS}
_ADD_TO_DAY = """
    INSERT INTO day VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
        submits = submits + excluded.submits, used = used + excluded.used, reserved = reserved + excluded.reserved,
        refunded = refunded + excluded.refunded, unsettled = unsettled + excluded.unsettled,
        overrun = overrun + excluded.overrun
"""


class SqliteJournal:
    """Rows of one ledger file. *writer* is for `write` and `commit`, which different threads call one after the other.

    *keep_jobs*: seconds that ended jobs stay. *damaged* skips reading the file. A group is not applied twice: `write`
    compares its number with the file's.
    """

    def __init__(self, path: str, writer: sqlite3.Connection, *, keep_jobs: float, damaged: bool = False) -> None:
        self._path = path
        self._writer = writer
        self._reader = open_reader(path)
        self._keep_jobs = keep_jobs
        self._number = 0
        if not damaged:
            (self._number,) = writer.execute("SELECT number FROM journal").fetchone()
        self._in_flight = Changes()
        self._begun = False
        self._doubtful: dict[tuple[str, str, str], list[int]] = {}

    def restore(self, state: LedgerState, now: float) -> None:
        """Fills *state* with what is open."""
        for table in OPEN_TABLES:
            order = " ORDER BY created" if "created" in rows.COLUMNS[table] else ""
            for row in self._writer.execute(f"SELECT * FROM {table}{order}"):
                state.load(table, row, now)

    def write(self, changes: Changes) -> None:
        """Writes the rows of a group, which `commit` then makes last. Raises sqlite3.Error: then call `failed`."""
        db = self._writer
        self._in_flight = changes
        self._begun = False
        db.execute("BEGIN IMMEDIATE")
        self._begun = True
        (number,) = db.execute("SELECT number FROM journal").fetchone()
        if number == self._number:
            changes.add_days(self._doubtful)
        self._doubtful = {}
        self._number = number
        db.execute("UPDATE journal SET number = ?", (number + 1,))
        self._write_rows(db, changes)
        if changes.drop_before is not None:
            self._drop(db, changes.drop_before)

    def commit(self) -> None:
        """Commits the group, in any thread. Raises sqlite3.Error, after which it may have been done or not."""
        self._writer.execute("COMMIT")

    def committed(self) -> None:
        """Ends a group that was committed."""
        self._number += 1
        self._in_flight = Changes()

    def failed(self, pending: Changes) -> None:
        """Ends a group that raised, and adds its changes to *pending*.

        Differences of days that may be in the file are kept apart: the next group compares the file's number.
        """
        changes, self._in_flight = self._in_flight, Changes()
        rolled_back = not self._begun or self._roll_back()
        if not rolled_back:
            self._doubtful = changes.days
        pending.put_back(changes, days=rolled_back)

    def key(self, key: str) -> KeyRecord | None:
        if key in self._in_flight.keys:
            return self._in_flight.keys[key]
        row = self._reader.execute("SELECT * FROM claim WHERE key = ?", (key,)).fetchone()
        return None if row is None else rows.read_key(row)

    def recently_ended(self) -> Iterable[EndedJob]:
        """Returns the ended calls of the group that is being committed."""
        return self._in_flight.ended.values()

    def ended(self, name: str) -> EndedJob | None:
        for ended in self._in_flight.ended.values():
            if name in (ended.record.id, ended.record.job):
                return ended
        row = self._reader.execute("SELECT * FROM job WHERE name = ?", (name,)).fetchone()
        return None if row is None else rows.read_ended(row)

    def load(self, dumped: Iterable[tuple[str, rows.Values]]) -> None:
        """Writes the rows of a dump into an empty ledger. Raises ValueError and sqlite3.Error."""
        db = self._writer
        used = [table for table in rows.COLUMNS if db.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone()]
        if used:
            raise ValueError(f"the ledger is not empty: {', '.join(used)}")
        db.execute("BEGIN IMMEDIATE")
        for table, values in dumped:
            db.execute(_INSERT[table], values)
        db.execute("COMMIT")

    def close(self) -> None:
        self._reader.close()
        self._writer.close()

    def _write_rows(self, db: sqlite3.Connection, changes: Changes) -> None:
        """Removals first: a row may be removed and made again in one group only under another key."""
        for table, column, records in (
            ("reservation", "id", changes.reservations),
            ("note", "id", changes.notes),
            ("claim", "key", changes.keys),
        ):
            gone = [(key,) for key, record in records.items() if record is None]
            if gone:
                db.executemany(f"DELETE FROM {table} WHERE {column} = ?", gone)
        for table, values in _groups(changes):
            if values:
                db.executemany(_INSERT[table], values)
        gone_buckets = [key for key, bucket in changes.buckets.items() if bucket is None]
        if gone_buckets:
            db.executemany("DELETE FROM bucket WHERE account = ? AND id = ?", gone_buckets)
        unblocked = [(caller,) for caller, blocked in changes.blocked.items() if not blocked]
        if unblocked:
            db.executemany("DELETE FROM blocked WHERE caller = ?", unblocked)
        if changes.days:
            db.executemany(_ADD_TO_DAY, [(*line, *sums) for line, sums in changes.days.items()])

    def _drop(self, db: sqlite3.Connection, now: float) -> None:
        oldest = oldest_day(now)
        for statement, values in (
            ("DELETE FROM claim WHERE key IN (SELECT key FROM claim WHERE until <= ? LIMIT ?)", (now, DROP_BATCH)),
            (
                "DELETE FROM job WHERE (caller, created, id) IN "
                "(SELECT caller, created, id FROM job WHERE ended <= ? LIMIT ?)",
                (now - self._keep_jobs, DROP_BATCH),
            ),
            ("DELETE FROM day WHERE day < ? AND reserved = 0", (oldest,)),
        ):
            db.execute(statement, values)

    def _roll_back(self) -> bool:
        """True where the transaction was still open: then nothing of it is in the file."""
        if not self._writer.in_transaction:
            return False
        try:
            self._writer.execute("ROLLBACK")
        except sqlite3.Error:
            return False
        return True


def _groups(changes: Changes) -> Iterator[tuple[str, list[rows.Values]]]:
    yield "reservation", [rows.reservation_values(one) for one in changes.reservations.values() if one is not None]
    yield "note", [rows.note_values(one) for one in changes.notes.values() if one is not None]
    yield "claim", [rows.key_values(one) for one in changes.keys.values() if one is not None]
    yield "bucket", [rows.bucket_values(*key, one) for key, one in changes.buckets.items() if one is not None]
    yield "credit", [rows.credit_values(one) for one in changes.credits.values() if one is not None]
    yield "blocked", [(caller,) for caller, blocked in changes.blocked.items() if blocked]
    yield "job", [rows.ended_values(one) for one in changes.ended.values()]


def read_days(path: str, since: date, until: date) -> tuple[DailyUsage, ...]:
    """Returns the lines of the report, on a connection of its own. Raises sqlite3.Error and ValueError."""
    with closing(open_readonly(path)) as db:
        days = db.execute(
            "SELECT * FROM day WHERE day BETWEEN ? AND ? ORDER BY day, caller, endpoint",
            (since.isoformat(), until.isoformat()),
        )
        return tuple(DailyUsage(date.fromisoformat(day), *others) for day, *others in days)


def read_jobs(path: str, caller: str, states: Iterable[JobState], limit: int, before: Cursor | None) -> list[EndedJob]:
    """Returns ended calls of *caller*, newest first, on a connection of its own. Raises sqlite3.Error, ValueError."""
    wanted = sorted(states)
    created, call_id = before or (float("inf"), "")
    with closing(open_readonly(path)) as db:
        found = db.execute(
            "SELECT * FROM job WHERE caller = ? AND (created, id) < (?, ?) AND state IN "
            f"({', '.join('?' * len(wanted))}) ORDER BY created DESC, id DESC LIMIT ?",
            (caller, created, call_id, *wanted, limit),
        )
        return [rows.read_ended(row) for row in found]


def dump(path: str) -> Iterator[Row]:
    """Yields all rows of the file, on a connection of its own. Raises sqlite3.Error and ValueError."""
    with closing(open_readonly(path)) as db:
        for table in rows.COLUMNS:
            for row in db.execute(f"SELECT * FROM {table}"):
                yield rows.dump_row(table, row)

"""Journal of a ledger in SQLite: writes groups of changes, and reads what the state does not hold."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import date

from proxy.billing.ledger.interface import DailyUsage
from proxy.billing.ledger.jobs import FORGOTTEN, Cursor, JobRecord, JobState, Retention, Row
from proxy.billing.ledger.memory import rows
from proxy.billing.ledger.memory.records import Changes, EndedJob, KeyRecord
from proxy.billing.ledger.memory.state import LedgerState
from proxy.billing.ledger.sqlite.schema import open_reader, open_readonly

OPEN_TABLES = ("bucket", "credit", "reservation", "note", "blocked")  # the state holds their rows
DROP_BATCH = 500  # old rows of a table removed by one group
NUMBERED = frozenset({"reservation", "note", "job"})  # tables whose rows have a number, in a last column


def _insert(table: str) -> str:
    places = ", ".join("?" * (len(rows.COLUMNS[table]) + (table in NUMBERED)))
    return f"INSERT OR REPLACE INTO {table} VALUES ({places})"


_INSERT = {table: _insert(table) for table in rows.COLUMNS}
_ADD_TO_DAY = """
    INSERT INTO day VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
        submits = submits + excluded.submits, used = used + excluded.used, reserved = reserved + excluded.reserved,
        refunded = refunded + excluded.refunded, unsettled = unsettled + excluded.unsettled,
        overrun = overrun + excluded.overrun
"""


# What is left of a user: stored answers of ended calls, the calls, and sums of days with nothing reserved.
_FORGET = (
    "DELETE FROM claim WHERE owner IN (SELECT id FROM job WHERE caller = :caller)",
    "DELETE FROM job WHERE caller = :caller",
    """
    INSERT INTO day SELECT day, :forgotten, endpoint, submits, used, reserved, refunded, unsettled, overrun FROM day
    WHERE caller = :caller AND reserved = 0 ON CONFLICT DO UPDATE SET
        submits = submits + excluded.submits, used = used + excluded.used, refunded = refunded + excluded.refunded,
        unsettled = unsettled + excluded.unsettled, overrun = overrun + excluded.overrun
    """,
    "DELETE FROM day WHERE caller = :caller AND reserved = 0",
)

_OLD_JOBS = f"""
    SELECT row FROM (SELECT row, ended FROM job ORDER BY row LIMIT {DROP_BATCH}) WHERE ended <= ?
"""


class RowNumbers:
    """Numbers of the rows of one table by the id of their record, in the order of their making."""

    def __init__(self, last: int = 0) -> None:
        self._last = last
        self._numbers: dict[str, int] = {}

    def restore(self, record_id: str, number: int) -> None:
        self._numbers[record_id] = number
        self._last = max(self._last, number)

    def get(self, record_id: str) -> int:
        """Returns the number of a record, a new one for the first time."""
        number = self._numbers.get(record_id)
        if number is None:
            number = self._numbers[record_id] = self.next()
        return number

    def next(self) -> int:
        self._last += 1
        return self._last

    def forget(self, record_ids: Iterable[str]) -> None:
        for record_id in record_ids:
            self._numbers.pop(record_id, None)


class SqliteJournal:
    """Rows of one ledger file.

    *writer* is for `write` and `commit`, which different threads call one after the other.

    *retention*: how long ended jobs and sums of days stay. *damaged* skips reading the file. A group is not applied
    twice: `write` compares its number with the file's.
    """

    def __init__(self, path: str, writer: sqlite3.Connection, *, retention: Retention, damaged: bool = False) -> None:
        self._path = path
        self._writer = writer
        self._reader = open_reader(path)
        self._retention = retention
        self._number = 0
        self._reservation_rows, self._note_rows, self._job_rows = RowNumbers(), RowNumbers(), RowNumbers()
        if not damaged:
            (self._number,) = writer.execute("SELECT number FROM journal").fetchone()
            (last,) = writer.execute("SELECT coalesce(max(row), 0) FROM job").fetchone()
            self._job_rows = RowNumbers(last)
        self._in_flight = Changes()
        self._begun = False
        self.unfinished_drop: float | None = None  # time before which there may be more rows to remove
        self._doubtful: dict[tuple[str, str, str], list[int]] = {}

    def restore(self, state: LedgerState, now: float) -> None:
        """Fills *state* with what is open."""
        numbers = {"reservation": self._reservation_rows, "note": self._note_rows}
        for table in OPEN_TABLES:
            for row in self._writer.execute(f"SELECT * FROM {table}"):
                if table in numbers:
                    *row, number = row
                    numbers[table].restore(str(row[0]), number)
                state.load(table, row, now)

    def write(self, changes: Changes) -> None:
        """Writes the rows of a group, which `commit` then makes last.

        Raises sqlite3.Error: then call `failed`.
        """
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
        self.unfinished_drop = None
        if changes.drop_before is not None:
            self._drop(db, changes.drop_before)

    def commit(self) -> None:
        """Commits the group, in any thread. Raises sqlite3.Error, after which it may have been done or not."""
        self._writer.execute("COMMIT")

    def committed(self) -> None:
        """Ends a group that was committed."""
        self._number += 1
        changes, self._in_flight = self._in_flight, Changes()
        self._reservation_rows.forget(key for key, record in changes.reservations.items() if record is None)
        self._note_rows.forget(key for key, record in changes.notes.items() if record is None)

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
        numbers = {"reservation": self._reservation_rows, "note": self._note_rows, "job": self._job_rows}
        for table, values in dumped:
            number = (numbers[table].get(str(values[0])),) if table in OPEN_TABLES and table in NUMBERED else ()
            if table == "job":
                number = (self._job_rows.next(),)
            db.execute(_INSERT[table], (*values, *number))
        db.execute("COMMIT")

    def close(self) -> None:
        self._reader.close()
        self._writer.close()

    def _write_rows(self, db: sqlite3.Connection, changes: Changes) -> None:
        for statement, values in (*self._removals(changes), *self._rows(changes)):
            if values:
                db.executemany(statement, values)
        for caller in changes.forgotten:
            for statement in _FORGET:
                db.execute(statement, {"caller": caller, "forgotten": FORGOTTEN})

    def _removals(self, changes: Changes) -> Iterator[tuple[str, list[rows.Values]]]:
        reservation, note = self._reservation_rows.get, self._note_rows.get
        yield (
            "DELETE FROM reservation WHERE row = ?",
            [(reservation(key),) for key, record in changes.reservations.items() if record is None],
        )
        yield "DELETE FROM note WHERE row = ?", [(note(key),) for key, one in changes.notes.items() if one is None]
        yield "DELETE FROM credit WHERE id = ?", [(key,) for key, one in changes.credits.items() if one is None]
        yield "DELETE FROM claim WHERE key = ?", [(key,) for key, one in changes.keys.items() if one is None]
        yield (
            "DELETE FROM bucket WHERE account = ? AND id = ?",
            [key for key, bucket in changes.buckets.items() if bucket is None],
        )
        yield (
            "DELETE FROM blocked WHERE caller = ?",
            [(key,) for key, blocked in changes.blocked.items() if not blocked],
        )
        # A refunded job is written again, under a new number.
        yield (
            "DELETE FROM job WHERE name = ?",
            [(ended.record.job or ended.record.id,) for ended in changes.ended.values() if ended.refunded],
        )

    def _rows(self, changes: Changes) -> Iterator[tuple[str, list[rows.Values]]]:
        reservation, note, job = self._reservation_rows.get, self._note_rows.get, self._job_rows.next
        yield (
            _INSERT["reservation"],
            [
                (*rows.reservation_values(one), reservation(key))
                for key, one in changes.reservations.items()
                if one is not None
            ],
        )
        yield (
            _INSERT["note"],
            [(*rows.note_values(one), note(key)) for key, one in changes.notes.items() if one is not None],
        )
        yield _INSERT["claim"], [rows.key_values(one) for one in changes.keys.values() if one is not None]
        yield (
            _INSERT["bucket"],
            [rows.bucket_values(*key, one) for key, one in changes.buckets.items() if one is not None],
        )
        yield _INSERT["credit"], [rows.credit_values(one) for one in changes.credits.values() if one is not None]
        yield _INSERT["blocked"], [(caller,) for caller, blocked in changes.blocked.items() if blocked]
        yield _INSERT["job"], [(*rows.ended_values(one), job()) for one in changes.ended.values()]
        yield _ADD_TO_DAY, [(*line, *sums) for line, sums in changes.days.items()]

    def _drop(self, db: sqlite3.Connection, now: float) -> None:
        oldest = self._retention.oldest_day(now).isoformat()
        for statement, values in (
            ("DELETE FROM claim WHERE key IN (SELECT key FROM claim WHERE until <= ? LIMIT ?)", (now, DROP_BATCH)),
            (f"DELETE FROM job WHERE row IN ({_OLD_JOBS})", (now - self._retention.jobs,)),
            ("DELETE FROM day WHERE day < ? AND reserved = 0", (oldest,)),
        ):
            if db.execute(statement, values).rowcount >= DROP_BATCH:
                self.unfinished_drop = now

    def _roll_back(self) -> bool:
        """True where the transaction was still open: then nothing of it is in the file."""
        if not self._writer.in_transaction:
            return False
        try:
            self._writer.execute("ROLLBACK")
        except sqlite3.Error:
            return False
        return True


def read_days(path: str, since: date, until: date) -> tuple[DailyUsage, ...]:
    """Returns the lines of the report, on a connection of its own. Raises sqlite3.Error and ValueError."""
    with closing(open_readonly(path)) as db:
        days = db.execute(
            "SELECT * FROM day WHERE day BETWEEN ? AND ? ORDER BY day, caller, endpoint",
            (since.isoformat(), until.isoformat()),
        )
        return tuple(DailyUsage(date.fromisoformat(day), *others) for day, *others in days)


def read_jobs(path: str, caller: str, states: Iterable[JobState], limit: int, before: Cursor | None) -> list[EndedJob]:
    """Returns ended calls of *caller*, newest first, on a connection of its own.

    Raises sqlite3.Error, ValueError.
    """
    names = sorted(states)
    created, call_id = before or (float("inf"), "")
    with closing(open_readonly(path)) as db:
        found = db.execute(
            "SELECT * FROM job WHERE caller = ? AND (created, id) < (?, ?) AND state IN "
            f"({', '.join('?' * len(names))}) ORDER BY created DESC, id DESC LIMIT ?",
            (caller, created, call_id, *names, limit),
        )
        return [rows.read_ended(row) for row in found]


def read_job_by_id(path: str, call_id: str) -> JobRecord | None:
    """Returns an ended call by its id.

    There is no index for it: it is for an operator, in a thread of its own.
    """
    with closing(open_readonly(path)) as db:
        row = db.execute("SELECT * FROM job WHERE id = ? LIMIT 1", (call_id,)).fetchone()
        return None if row is None else rows.read_ended(row).record


def dump(path: str) -> Iterator[Row]:
    """Yields all rows of the file, on a connection of its own. Raises sqlite3.Error and ValueError."""
    with closing(open_readonly(path)) as db:
        for table in rows.COLUMNS:
            for row in db.execute(f"SELECT {', '.join(rows.COLUMNS[table])} FROM {table}"):
                yield rows.dump_row(table, row)

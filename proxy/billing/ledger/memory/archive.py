"""Archive of a ledger: ended jobs, answered keys and the sums of days, which its state does not need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Protocol

from proxy.billing.ledger.interface import DailyUsage
from proxy.billing.ledger.jobs import FORGOTTEN, Cursor, JobRecord, JobState, Retention, Row
from proxy.billing.ledger.memory.deadline_queue import DeadlineQueue
from proxy.billing.ledger.memory.records import Changes, EndedJob, KeyRecord
from proxy.billing.ledger.memory.rows import Values, dump_row, ended_values, key_values, read_ended, read_key

KEPT_JOBS = 10_000  # ended jobs in memory


class Archive(Protocol):
    """Lookup of records that the state does not hold. Raises StoreAway where it cannot be read."""

    def key(self, key: str) -> KeyRecord | None: ...

    def ended(self, name: str) -> EndedJob | None:
        """Returns an ended call by the name of its job or by its id."""
        ...


class MemoryArchive:
    """Archive of a ledger without a file. The oldest of more than KEPT_JOBS ended jobs are forgotten."""

    def __init__(self, retention: Retention) -> None:
        self._retention = retention
        self._keys: dict[str, KeyRecord] = {}
        self._key_ends: DeadlineQueue[str] = DeadlineQueue()
        self._oldest_day = ""
        self._ended: dict[str, EndedJob] = {}
        self._ids: dict[str, str] = {}  # of jobs
        self._days: dict[tuple[str, str, str], list[int]] = {}

    def key(self, key: str) -> KeyRecord | None:
        return self._keys.get(key)

    def ended(self, name: str) -> EndedJob | None:
        return self._ended.get(self._ids.get(name, name))

    def jobs(self, caller: str, states: frozenset[JobState], limit: int, before: Cursor | None) -> list[JobRecord]:
        """Returns ended calls of *caller*, newest first."""
        records = (ended.record for ended in self._ended.values())
        return newest(
            (record for record in records if record.caller == caller and record.state in states), limit, before
        )

    def report(self, since: date, until: date) -> tuple[DailyUsage, ...]:
        days = (since.isoformat(), until.isoformat())
        return tuple(
            DailyUsage(date.fromisoformat(day), caller, endpoint, *sums)
            for (day, caller, endpoint), sums in sorted(self._days.items())
            if days[0] <= day <= days[1]
        )

    def apply(self, changes: Changes) -> None:
        """Takes in *changes*, and clears them."""
        for key, record in changes.keys.items():
            if record is None:
                self._keys.pop(key, None)
                self._key_ends.discard(key)
            else:
                self._add_key(record)
        for ended in changes.ended.values():
            self._add_ended(ended)
        for line, sums in changes.days.items():
            self._days[line] = [a + b for a, b in zip(self._days.get(line, _NO_SUMS), sums, strict=True)]
        for caller in changes.forgotten:
            self._forget(caller)
        while len(self._ended) > KEPT_JOBS:
            self._drop_job(next(iter(self._ended)))
        if changes.drop_before is not None:
            self._drop(changes.drop_before)
        changes.clear()

    def load(self, table: str, values: Values) -> None:
        """Takes in a row of a dump."""
        if table == "claim":
            self._add_key(read_key(values))
        elif table == "job":
            self._add_ended(read_ended(values))
        elif table == "day":
            day, caller, endpoint, *sums = values
            self._days[str(day), str(caller), str(endpoint)] = [int(amount or 0) for amount in sums]

    def dump(self) -> Iterator[Row]:
        yield from (dump_row("claim", key_values(record)) for record in self._keys.values())
        yield from (dump_row("day", (*line, *sums)) for line, sums in self._days.items())
        yield from (dump_row("job", ended_values(ended)) for ended in self._ended.values())

    def _add_key(self, record: KeyRecord) -> None:
        self._keys[record.key] = record
        self._key_ends.put(record.key, record.until)

    def _add_ended(self, ended: EndedJob) -> None:
        self._ended[ended.record.id] = ended
        if ended.record.job is not None:
            self._ids[ended.record.job] = ended.record.id

    def _forget(self, caller: str) -> None:
        ended = [one for one in self._ended.values() if one.record.caller == caller]
        ids = {one.record.id for one in ended}
        for one in ended:
            del self._ended[one.record.id]
            self._ids.pop(one.record.job or "", None)
        for key in [key for key, record in self._keys.items() if record.owner in ids]:
            del self._keys[key]
            self._key_ends.discard(key)
        for line in [line for line, sums in self._days.items() if line[1] == caller and not sums[_RESERVED]]:
            moved, to = self._days.pop(line), (line[0], FORGOTTEN, line[2])
            self._days[to] = [a + b for a, b in zip(self._days.get(to, _NO_SUMS), moved, strict=True)]

    def _drop(self, now: float) -> None:
        while (ended := self._key_ends.pop_due(now)) is not None:
            del self._keys[ended[0]]
        for call_id in self._old_jobs(now - self._retention.jobs):
            self._drop_job(call_id)
        oldest = self._retention.oldest_day(now).isoformat()
        if oldest == self._oldest_day:
            return
        self._oldest_day = oldest
        self._days = {line: sums for line, sums in self._days.items() if line[0] >= oldest or sums[_RESERVED] != 0}

    def _old_jobs(self, before: float) -> list[str]:
        """Returns the ids of jobs that ended before a time.

        The first ones are the oldest, so that few are read.
        """
        old: list[str] = []
        for call_id, ended in self._ended.items():
            if ended.record.ended is None or ended.record.ended > before:
                break
            old.append(call_id)
        return old

    def _drop_job(self, call_id: str) -> None:
        ended = self._ended.pop(call_id)
        self._ids.pop(ended.record.job or "", None)


def newest(records: Iterable[JobRecord], limit: int, before: Cursor | None) -> list[JobRecord]:
    """Returns the first *limit* of *records* by time of creation, newest first, after the cursor *before*."""
    older = [record for record in records if before is None or (record.created, record.id) < before]
    older.sort(key=lambda record: (record.created, record.id), reverse=True)
    return older[:limit]


_NO_SUMS = [0] * 6
_RESERVED = 2

"""The ledger in SQLite: a file that outlives the process, or memory.

What was answered is on the disk (synchronous = FULL). With NORMAL a power cut could take back the last minutes: charges
for jobs that run, and idempotency keys, whose next use would then pay a second time. The price is a sync for each group
of steps. Killing the process loses nothing in either mode.

Processes of one machine may share a file: a group of steps has it to itself. Not on a network file system (SQLite's WAL
needs shared memory).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from proxy.budgets import Charge, Seat
from proxy.ledger import Claim, DayLine, Entry, Reserved, Shortfall, Standing, Stored
from proxy.prices import MAX_PRICE, MICRO, Micros
from proxy.sqlite_schema import connect
from proxy.sqlite_thread import SqliteThread

GRACE = 3600.0  # seconds an ended bucket stays: the clock of another process may be behind
DAYS_KEPT = 400  # of the report
MOST_TOLD = int(MAX_PRICE) * MICRO  # the most a job is believed to cost, so that no sum ever overflows

SPENT = """
    SELECT coalesce(sum(used), 0), coalesce(sum(reserved), 0) FROM bucket
    WHERE account = ? AND id IN (SELECT value FROM json_each(?))
"""
LIVE = "SELECT count(*) FROM seat WHERE account = ? AND until > ?"
RESERVE = """
    INSERT INTO ticket (id, day, caller, endpoint, amount, charges, seats, until) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
# A job belongs to the ticket that named it first.
ACCEPT = "UPDATE OR IGNORE ticket SET job = ? WHERE id = ? AND job IS NULL"
REFUND = "UPDATE ticket SET spent = 0 WHERE id = ?"
SETTLE = "UPDATE ticket SET spent = min(amount, :told), overrun = max(:told - amount, 0) WHERE job = :job"
SETTLE_WHOLE = "UPDATE ticket SET spent = amount WHERE job = :job"
RELEASE = "DELETE FROM seat WHERE job = ?"
SWEEP = """
    UPDATE ticket SET spent = amount, swept = 1
    WHERE id IN (SELECT id FROM ticket WHERE until <= :now ORDER BY until LIMIT :limit)
"""
TIDY = (
    "DELETE FROM seat WHERE (account, ticket) IN (SELECT account, ticket FROM seat WHERE until <= :now LIMIT :limit)",
    "DELETE FROM claim WHERE key IN (SELECT key FROM claim WHERE until <= :now LIMIT :limit)",
    "DELETE FROM bucket WHERE (account, id) IN (SELECT account, id FROM bucket WHERE until <= :ended LIMIT :limit)",
    "DELETE FROM day WHERE day < :oldest AND reserved = 0",
)
REPORT = """
    SELECT day, caller, endpoint, submits, used, reserved, refunded, unsettled, overrun FROM day
    WHERE day BETWEEN ? AND ? ORDER BY day, caller, endpoint
"""
CLAIMED = "SELECT body_hash, answer, held_until FROM claim WHERE key = ? AND until > ?"
CLAIM = "INSERT OR REPLACE INTO claim (key, body_hash, owner, held_until, until) VALUES (?, ?, ?, ?, ?)"
STORE = "UPDATE claim SET answer = ?, until = ? WHERE key = ? AND owner = ? AND answer IS NULL"
FREE = "DELETE FROM claim WHERE key = ? AND owner = ? AND answer IS NULL"
BEAT = "UPDATE pulse SET beats = beats + 1"


class SqliteLedger:
    """*path* is a file or ":memory:"; *timeout* in seconds, for each step. Raises ValueError where *path* is no good.

    A reservation or a claim whose caller did not wait for the answer is taken back. Everything else that was asked is
    done, late if need be. A report takes as long as it has lines: give it time, in a process of its own.
    """

    def __init__(self, path: str, *, timeout: float = 0.1) -> None:
        self._thread = SqliteThread(connect(path, busy=timeout), timeout=timeout)

    @property
    def failures(self) -> int:
        """How many steps were answered with StoreAway."""
        return self._thread.failures

    async def reserve(self, ticket: str, entry: Entry, *, now: float) -> Reserved | Shortfall:
        """Raises ValueError for a ticket that is in use, and for a negative amount."""
        return await self._thread.run(
            lambda db: _reserve(db, ticket, entry, now), undo=lambda db: db.execute(REFUND, (ticket,))
        )

    async def accept(self, ticket: str, job: str, *, now: float) -> None:
        await self._thread.run(lambda db: db.execute(ACCEPT, (job, ticket)))

    async def refund(self, ticket: str, *, now: float) -> None:
        await self._thread.run(lambda db: db.execute(REFUND, (ticket,)))

    async def settle(self, job: str, *, amount: Micros | None, now: float) -> bool:
        return await self._thread.run(lambda db: _settle(db, job, amount))

    async def release(self, job: str, *, now: float) -> None:
        await self._thread.run(lambda db: db.execute(RELEASE, (job,)))

    async def sweep(self, *, now: float, limit: int = 1000) -> int:
        return await self._thread.run(lambda db: _sweep(db, now, limit))

    async def standings(
        self, charges: tuple[Charge, ...], seats: tuple[Seat, ...], *, now: float
    ) -> tuple[Standing, ...]:
        return await self._thread.run(lambda db: tuple(_standings(db, charges, seats, now)))

    async def report(self, *, since: date, until: date) -> tuple[DayLine, ...]:
        return await self._thread.run(lambda db: _report(db, since, until))

    async def claim(
        self, key: str, body_hash: str, *, owner: str, now: float, ttl: float, hold: float
    ) -> Claim | Stored:
        return await self._thread.run(
            lambda db: _claim(db, key, body_hash, owner, now, ttl, hold),
            undo=lambda db: db.execute(FREE, (key, owner)),
        )

    async def store(self, key: str, answer: bytes, *, owner: str, now: float, ttl: float) -> None:
        await self._thread.run(lambda db: db.execute(STORE, (answer, now + ttl, key, owner)))

    async def free(self, key: str, *, owner: str) -> None:
        await self._thread.run(lambda db: db.execute(FREE, (key, owner)))

    async def ping(self) -> None:
        # Writes: a full disk and a read-only one still answer questions.
        await self._thread.probe(lambda db: db.execute(BEAT))

    async def aclose(self) -> None:
        await self._thread.aclose()


def _reserve(db: sqlite3.Connection, ticket: str, entry: Entry, now: float) -> Reserved | Shortfall:
    observed = []
    for shortfall, enforce in _shortfalls(db, entry, now):
        if enforce:
            return shortfall
        observed.append(shortfall)
    charges = json.dumps([[charge.account, charge.current, now + charge.ttl] for charge in entry.charges])
    seats = json.dumps([[seat.account, now + seat.lease] for seat in entry.seats])
    day = datetime.fromtimestamp(now, UTC).date().isoformat()
    db.execute(RESERVE, (ticket, day, entry.caller, entry.endpoint, entry.amount, charges, seats, now + entry.ttl))
    return Reserved(tuple(observed))


def _shortfalls(db: sqlite3.Connection, entry: Entry, now: float) -> Iterator[tuple[Shortfall, bool]]:
    """Each with whether it is enforced."""
    for charge in entry.charges:
        left = charge.limit - sum(_spent(db, charge))
        if entry.amount > left:
            # A price over the limit itself: waiting does not help.
            renews_at = charge.renews_at if entry.amount <= charge.limit else None
            yield Shortfall("budget", charge.budget, charge.limit, max(left, 0), renews_at), charge.enforce
    for seat in entry.seats:
        if _live(db, seat, now) >= seat.limit:
            yield Shortfall("in-flight", seat.name, seat.limit, 0, None), seat.enforce


def _spent(db: sqlite3.Connection, charge: Charge) -> tuple[Micros, Micros]:
    used, reserved = db.execute(SPENT, (charge.account, json.dumps(charge.counted))).fetchone()
    return used, reserved


def _live(db: sqlite3.Connection, seat: Seat, now: float) -> int:
    (live,) = db.execute(LIVE, (seat.account, now)).fetchone()
    return int(live)


def _standings(
    db: sqlite3.Connection, charges: tuple[Charge, ...], seats: tuple[Seat, ...], now: float
) -> Iterator[Standing]:
    for charge in charges:
        used, reserved = _spent(db, charge)
        yield Standing(charge.budget, charge.limit, used, reserved, charge.renews_at)
    for seat in seats:
        yield Standing(seat.name, seat.limit, _live(db, seat, now), 0, None)


def _settle(db: sqlite3.Connection, job: str, amount: Micros | None) -> bool:
    if amount is None:
        settled = db.execute(SETTLE_WHOLE, {"job": job}).rowcount
    else:
        told = max(0, min(amount, MOST_TOLD))
        settled = db.execute(SETTLE, {"job": job, "told": told}).rowcount
    db.execute(RELEASE, (job,))  # a reservation that was swept has left its seats behind
    return settled > 0


def _sweep(db: sqlite3.Connection, now: float, limit: int) -> int:
    swept = db.execute(SWEEP, {"now": now, "limit": limit}).rowcount
    oldest = datetime.fromtimestamp(now, UTC).date() - timedelta(days=DAYS_KEPT)
    for statement in TIDY:
        db.execute(statement, {"now": now, "ended": now - GRACE, "oldest": oldest.isoformat(), "limit": limit})
    return swept


def _report(db: sqlite3.Connection, since: date, until: date) -> tuple[DayLine, ...]:
    rows = db.execute(REPORT, (since.isoformat(), until.isoformat()))
    return tuple(DayLine(date.fromisoformat(day), *rest) for day, *rest in rows)


def _claim(
    db: sqlite3.Connection, key: str, body_hash: str, owner: str, now: float, ttl: float, hold: float
) -> Claim | Stored:
    row = db.execute(CLAIMED, (key, now)).fetchone()
    if row is None:
        db.execute(CLAIM, (key, body_hash, owner, now + hold, now + ttl))
        return Claim.FRESH
    known_hash, answer, held_until = row
    if known_hash != body_hash:
        return Claim.MISMATCH
    if answer is not None:
        return Stored(answer)
    return Claim.BUSY if now < held_until else Claim.UNKNOWN

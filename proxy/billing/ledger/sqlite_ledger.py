"""The ledger in SQLite: a file that outlives the process, or memory.

What was answered is on the disk (synchronous = FULL). With NORMAL a power cut could take back the last minutes: charges
for jobs that run, and idempotency keys, whose next use would then pay a second time. The price is a sync for each group
of steps. Killing the process loses nothing in either mode.

Processes of one machine may share a file: a group of steps has it to itself. Not on a network file system (SQLite's WAL
needs shared memory).
"""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from functools import partial

from proxy.billing.ledger.interface import Charge, Claim, DayLine, Entry, Reserved, Seat, Shortfall, Standing, Stored
from proxy.billing.ledger.money import MAX_PRICE, MICRO, Micros
from proxy.billing.ledger.sqlite_schema import connect
from proxy.billing.ledger.sqlite_statements import perform, prepare
from proxy.errors import StoreAway
from proxy.storage.group_commit import GroupCommit

GRACE = 3600.0  # seconds an ended bucket stays: the clock of another process may be behind
DAYS_KEPT = 400  # of the report
MOST_TOLD = int(MAX_PRICE) * MICRO  # the most a job is believed to cost, so that no sum ever overflows


class SqliteLedger:
    """*path* is a file or ":memory:"; *timeout* in seconds, a file's for each step. Raises ValueError for a bad *path*.

    A reservation or a claim whose caller got no answer, for StoreAway or being cancelled, is taken back. All else that
    was asked is done, late if need be. A report takes as long as it has lines, and holds up no step of a file.
    """

    def __init__(self, path: str, *, timeout: float = 0.1) -> None:
        db = connect(path, busy=timeout)
        prepare(db)
        self._path = path
        self._memory = db if path == ":memory:" else None
        self._steps = GroupCommit(partial(perform, db), db.close, timeout=timeout, here=path == ":memory:")

    @property
    def failures(self) -> int:
        """How many steps were answered with StoreAway."""
        return self._steps.failures

    async def reserve(self, ticket: str, entry: Entry, *, now: float) -> Reserved | Shortfall:
        """A ticket that is open already gets the answer it got, and nothing is written. Raises ValueError below 0."""
        wanted = _row(
            "reserve",
            ticket=ticket,
            day=_day(now).isoformat(),
            caller=entry.caller,
            endpoint=entry.endpoint,
            amount=entry.amount,
            until=now + entry.ttl,
        )
        said = await self._steps.run(
            [*_allowances(entry.charges, entry.seats, now), wanted], undo=[_row("refund", ticket=ticket)]
        )
        short: list[tuple[int, int, bool]] = json.loads(said)
        for which, left, enforce in short:
            if enforce:
                return _shortfall(entry, which, left)
        return Reserved(tuple(_shortfall(entry, which, left) for which, left, _ in short))

    async def accept(self, ticket: str, job: str, *, now: float) -> None:
        await self._steps.run([_row("accept", ticket=ticket, job=job)])

    async def refund(self, ticket: str, *, now: float) -> None:
        await self._steps.run([_row("refund", ticket=ticket)])

    async def settle(self, job: str, *, amount: Micros | None, now: float) -> bool:
        told = None if amount is None else max(0, min(amount, MOST_TOLD))
        return await self._steps.run([_row("settle", job=job, amount=told)]) == "1"

    async def release(self, job: str, *, now: float) -> None:
        await self._steps.run([_row("release", job=job)])

    async def sweep(self, *, now: float, limit: int = 1000) -> int:
        oldest = _day(now) - timedelta(days=DAYS_KEPT)
        step = _row("sweep", now=now, ended=now - GRACE, oldest=oldest.isoformat(), limit=limit)
        return int(await self._steps.run([step]))

    async def standings(
        self, charges: tuple[Charge, ...], seats: tuple[Seat, ...], *, now: float
    ) -> tuple[Standing, ...]:
        said = await self._steps.run([*_allowances(charges, seats, now), _row("standings")])
        sums = iter(json.loads(said))
        drawn = [(charge.budget, charge.limit, *next(sums), charge.renews_at) for charge in charges]
        taken = [(seat.name, seat.limit, *next(sums), None) for seat in seats]
        return tuple(Standing(*standing) for standing in (*drawn, *taken))

    async def report(self, *, since: date, until: date) -> tuple[DayLine, ...]:
        days = (since.isoformat(), until.isoformat())
        try:
            if self._memory is not None:
                lines = self._memory.execute(_REPORT, days).fetchall()
            else:
                lines = await asyncio.to_thread(_lines, self._path, days)
        except sqlite3.Error as error:
            raise StoreAway(reason=f"ledger: {error}") from error
        return tuple(DayLine(date.fromisoformat(day), *rest) for day, *rest in lines)

    async def claim(
        self, key: str, body_hash: str, *, owner: str, now: float, ttl: float, hold: float
    ) -> Claim | Stored:
        wanted = _row(
            "claim", key=key, body_hash=body_hash, owner=owner, now=now, held_until=now + hold, until=now + ttl
        )
        said = await self._steps.run([wanted], undo=[_row("free", key=key, owner=owner)])
        state, *answer = json.loads(said)
        return Stored(base64.b64decode(answer[0])) if answer else Claim(state)

    async def store(self, key: str, answer: bytes, *, owner: str, now: float, ttl: float) -> None:
        kept = base64.b64encode(answer).decode("ascii")
        await self._steps.run([_row("store", key=key, owner=owner, answer=kept, until=now + ttl)])

    async def free(self, key: str, *, owner: str) -> None:
        await self._steps.run([_row("free", key=key, owner=owner)])

    async def ping(self) -> None:
        await self._steps.run([_row("beat")], probe=True)

    async def warnings(self) -> tuple[str, ...]:
        return ()

    async def aclose(self) -> None:
        await self._steps.aclose()


_REPORT = """
    SELECT day, caller, endpoint, submits, used, reserved, refunded, unsettled, overrun FROM day
    WHERE day BETWEEN ? AND ? ORDER BY day, caller, endpoint
"""


def _lines(path: str, days: tuple[str, str]) -> list[tuple[str, str, str, int, int, int, int, int, int]]:
    """On a connection of its own: who only reads (SQLite, "WAL Concurrency") neither waits nor is waited for."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute(_REPORT, days).fetchall()


_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def _row(does: str, **args: object) -> str:
    return _encode({"does": does, **args})


def _allowances(charges: Iterable[Charge], seats: Iterable[Seat], now: float) -> Iterator[str]:
    for charge in charges:
        yield _row(
            "charge",
            account=charge.account,
            current=charge.current,
            counted=charge.counted,
            limit=charge.limit,
            enforce=charge.enforce,
            until=now + charge.ttl,
        )
    for seat in seats:
        yield _row(
            "seat", account=seat.account, limit=seat.limit, enforce=seat.enforce, until=now + seat.lease, now=now
        )


def _shortfall(entry: Entry, which: int, left: int) -> Shortfall:
    allowances: tuple[Charge | Seat, ...] = (*entry.charges, *entry.seats)
    allowance = allowances[which]
    if isinstance(allowance, Seat):
        return Shortfall("in-flight", allowance.name, allowance.limit, max(left, 0), None)
    # A price over the limit itself: waiting does not help.
    renews_at = allowance.renews_at if entry.amount <= allowance.limit else None
    return Shortfall("budget", allowance.budget, allowance.limit, max(left, 0), renews_at)


def _day(now: float) -> date:
    return datetime.fromtimestamp(now, UTC).date()

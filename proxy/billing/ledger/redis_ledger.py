"""The ledger in Redis (7 or later) or Valkey, for any number of workers and replicas.

A step that starts from a job or a ticket first reads its record, which never changes, to know the keys it must name;
all it decides, it decides itself.

All times are those the caller passes: what is old by them does not count, whether it is still stored or not. The keys'
TTLs, in the server's own time, only throw away what nobody can ask for any more, with room for clocks that disagree.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from typing import TypeVar

import orjson

from proxy.billing.ledger import redis_keys as keys
from proxy.billing.ledger import redis_scripts as scripts
from proxy.billing.ledger.interface import (
    AllowanceStatus,
    Charge,
    DailyUsage,
    Granted,
    InFlightSlot,
    KeyState,
    LimitExceeded,
    ReservationRequest,
    StoredAnswer,
)
from proxy.billing.ledger.jobs import EndState, LedgerStats
from proxy.billing.ledger.money import MAX_JOB_COST, Micros
from proxy.billing.ledger.redis_keys import Record
from proxy.errors import StoreAway
from proxy.storage.compensation import PendingUndo, Undo
from proxy.storage.redis_client import RedisStore, Script

CLOCK_SKEW = 3_600.0  # seconds that clocks may disagree, or be set back, before a key is thrown away too early
UNSWEPT_TTL = 7 * 86_400.0  # seconds that a reservation past its ttl waits for a sweep before it is forgotten
MAX_SAFE_INTEGER = 2**53 - 1  # up to here sums are exact; a limit or a price beyond is taken for this
SWEEP_BATCH = 100  # reservations swept in one batch
REPORT_DAYS = 366  # days looked for in one call

T = TypeVar("T")
Args = list[bytes | str | int]


class RedisLedger:
    """*store* is shared with others: whoever made it closes it, after this.

    A reservation or a claim whose caller got no answer, for StoreAway or being cancelled, is given back once the store
    answers again.
    """

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._doubts = PendingUndo()
        self._clock: float | None = None

    async def start(self, *, now: float) -> None:
        """Connects with the first step."""

    async def flush(self) -> None:
        """A step that was acknowledged is in the store."""

    def notices(self) -> tuple[str, ...]:
        return ()

    def stats(self) -> LedgerStats:
        return LedgerStats(failures=self._store.failures)

    async def reserve(self, call_id: str, request: ReservationRequest, *, now: float) -> Granted | LimitExceeded:
        """An id that is open already gets the answer it got, and nothing is written. Raises ValueError below 0."""
        self._clock = now if self._clock is None else self._clock
        if request.amount < 0:
            raise ValueError(f"cannot reserve {request.amount}")
        buckets = [keys.bucket_keys(charge) for charge in request.charges]
        record = Record(
            ticket=call_id,
            amount=min(request.amount, MAX_SAFE_INTEGER),
            day=keys.day_key(datetime.fromtimestamp(now, UTC).date()),
            line=f"{request.caller} {request.endpoint}",
            buckets=[current for current, *_ in buckets],
            seats=[keys.slot_key(seat) for seat in request.slots],
        )
        said = await self._take(
            call_id,
            scripts.RESERVE,
            [keys.reservation_key(call_id), keys.DUE, record.day, *chain(*buckets), *record.seats],
            _terms(record, request, [len(counted) for counted in buckets], now),
            undo=lambda: self.refund(call_id, now=now),
        )
        reserved, *short = _numbers(said)
        shortfalls = [_shortfall(request, i, left) for i, left in zip(short[::2], short[1::2], strict=True)]
        return Granted(tuple(shortfalls)) if reserved else shortfalls[0]

    async def accept(self, call_id: str, job: str, *, key_alias: str = "", now: float) -> None:
        await self._store.run(scripts.ACCEPT, [keys.reservation_key(call_id), keys.job_key(job)], [])

    async def refund(self, call_id: str, *, now: float) -> None:
        record = await self._find(keys.reservation_key(call_id))
        if record is not None:
            await self._end(record, freed=record.seats, spent=0)

    async def settle(self, job: str, *, amount: Micros | None, state: EndState = "completed", now: float) -> bool:
        key = keys.job_key(job)
        record = await self._find(key)
        if record is None:
            return False
        told = record.amount if amount is None else max(0, min(amount, MAX_JOB_COST))
        spent = min(told, record.amount)
        return await self._end(record, freed=record.seats, spent=spent, overrun=told - spent, jobs=[key])

    async def release(self, job: str, *, now: float) -> None:
        record = await self._find(keys.job_key(job))
        if record is not None and record.seats:
            await self._store.run(scripts.RELEASE, record.seats, [record.ticket])

    async def sweep(self, *, now: float, limit: int = 1000) -> int:
        """Each reservation is a step of its own. All else that is old goes by its TTL."""
        self._doubts.flush()
        # A clock that jumped ahead ends nothing: at most an hour from one sweep to the next.
        now = self._clock = now if self._clock is None else min(now, self._clock + 3600)
        swept = 0
        for done in range(0, limit, SWEEP_BATCH):
            count = min(SWEEP_BATCH, limit - done)
            due = _as(list, await self._store.run(scripts.DUE, [keys.DUE], [repr(now), count]))
            swept += sum(await asyncio.gather(*(self._lapse(ticket.decode()) for ticket in due)))
            if len(due) < count:
                break
        return swept

    async def statuses(
        self, charges: tuple[Charge, ...], seats: tuple[InFlightSlot, ...], *, now: float
    ) -> tuple[AllowanceStatus, ...]:
        buckets = [keys.bucket_keys(charge) for charge in charges]
        named = [*chain(*buckets), *map(keys.slot_key, seats)]
        numbers = iter(_numbers(await self._store.run(scripts.STANDINGS, named, [repr(now), *map(len, buckets)])))
        drawn = [AllowanceStatus(c.budget, c.limit, next(numbers), next(numbers), c.renews_at) for c in charges]
        return (
            *drawn,
            *(AllowanceStatus(seat.name, seat.limit, next(numbers), 0, None, kind="in-flight") for seat in seats),
        )

    async def report(self, *, since: date, until: date) -> tuple[DailyUsage, ...]:
        days = [since + timedelta(n) for n in range((until - since).days + 1)]
        lines: list[DailyUsage] = []
        for start in range(0, len(days), REPORT_DAYS):
            part = days[start : start + REPORT_DAYS]
            kept = _as(list, await self._store.run(scripts.KEPT, list(map(keys.day_key, part)), []))
            for n in kept:
                lines += await self._lines(part[n - 1])
        return tuple(lines)

    async def claim_key(
        self, key: str, body_hash: str, *, owner: str, now: float, ttl: float, hold: float
    ) -> KeyState | StoredAnswer:
        said = await self._take(
            f"{key} {owner}",
            scripts.CLAIM,
            [keys.idempotency_key(key)],
            [repr(now), body_hash, owner, repr(now + hold), repr(now + ttl), _ms(ttl + CLOCK_SKEW)],
            undo=lambda: self.free_key(key, owner=owner),
        )
        return StoredAnswer(_as(bytes, said[0])) if isinstance(said, list) else KeyState(_as(bytes, said).decode())

    async def store_answer(self, key: str, answer: bytes, *, owner: str, now: float, ttl: float) -> None:
        args: Args = [repr(now), owner, answer, repr(now + ttl), _ms(ttl + CLOCK_SKEW)]
        await self._store.run(scripts.STORE, [keys.idempotency_key(key)], args)

    async def free_key(self, key: str, *, owner: str) -> None:
        await self._store.run(scripts.FREE, [keys.idempotency_key(key)], [owner])

    async def ping(self) -> None:
        await self._store.ping()

    async def aclose(self) -> None:
        await self._doubts.aclose()

    async def warnings(self) -> tuple[str, ...]:
        info = _as(bytes, await self._store.run(scripts.INFO, [], [])).decode()
        facts = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
        return tuple(warning for (name, wanted), warning in _WARNINGS.items() if facts.get(name, wanted) != wanted)

    async def _take(self, name: str, script: Script, named: list[str], args: Args, *, undo: Undo) -> object:
        self._doubts.cancel(name)
        said = await self._store.run(
            script, named, args, sheddable=True, on_unknown=lambda: self._doubts.add(name, undo)
        )
        self._doubts.flush()
        return said

    async def _find(self, key: str) -> Record | None:
        found = await self._store.run(scripts.FIND, [key], [])
        return None if found is None else Record(**orjson.loads(_as(bytes, found)))

    async def _lapse(self, ticket: str) -> bool:
        """Its seats end with their leases. Of a ticket that is gone only the place among those due is left to go."""
        record = await self._find(keys.reservation_key(ticket)) or Record(ticket, 0, keys.DUE, "")
        return await self._end(record, freed=(), spent=record.amount, unsettled=record.amount)

    async def _end(
        self,
        record: Record,
        *,
        freed: Sequence[str],
        spent: Micros,
        unsettled: Micros = 0,
        overrun: Micros = 0,
        jobs: Sequence[str] = (),
    ) -> bool:
        named = [keys.reservation_key(record.ticket), keys.DUE, record.day, *record.buckets, *freed, *jobs]
        args: Args = [record.ticket, record.line, len(record.buckets), len(freed)]
        args += [spent, -record.amount, record.amount - spent, unsettled, overrun]
        return await self._store.run(scripts.END, named, args) == 1

    async def _lines(self, day: date) -> list[DailyUsage]:
        """Read in parts, so that a long day does not hold up the server; a line may come twice."""
        found: dict[bytes, bytes] = {}
        cursor = None
        while cursor != b"0":
            cursor, pairs = _as(list, await self._store.run(scripts.LINES, [keys.day_key(day)], [cursor or 0]))
            found.update(zip(pairs[::2], pairs[1::2], strict=True))
        return [_line(day, name, sums) for name, sums in sorted(found.items())]


_WARNINGS = {
    ("maxmemory_policy", "noeviction"): "maxmemory-policy is not noeviction: what was spent may be thrown away",
    ("aof_enabled", "1"): "appendonly is off: a restart forgets what was spent since the last snapshot",
}


def _terms(record: Record, entry: ReservationRequest, counted: list[int], now: float) -> Args:
    """What RESERVE is told of the ticket, of each charge, which has so many buckets *counted*, and of each seat."""
    life = max([entry.ttl, *(seat.lease for seat in entry.slots)]) + UNSWEPT_TTL
    args: Args = [
        record.ticket,
        orjson.dumps(record),
        repr(now),
        repr(now - CLOCK_SKEW),
        repr(now + entry.ttl),
        _ms(life),
    ]
    args += [record.line, record.amount, len(entry.charges), len(entry.slots)]
    for charge, count in zip(entry.charges, counted, strict=True):
        args += [count, min(charge.limit, MAX_SAFE_INTEGER), int(charge.enforce), _ms(charge.ttl + CLOCK_SKEW)]
    for seat in entry.slots:
        args += [seat.limit, int(seat.enforce), repr(now + seat.lease), _ms(seat.lease + CLOCK_SKEW)]
    return args


def _shortfall(entry: ReservationRequest, index: int, left: int) -> LimitExceeded:
    """*index* counts the charges, then the seats."""
    if index < len(entry.charges):
        charge = entry.charges[index]
        # A price over the limit itself: waiting does not help.
        renews_at = charge.renews_at if entry.amount <= charge.limit else None
        return LimitExceeded("budget", charge.budget, charge.limit, left, renews_at)
    seat = entry.slots[index - len(entry.charges)]
    return LimitExceeded("in-flight", seat.name, seat.limit, left, None)


def _line(day: date, name: bytes, sums: bytes) -> DailyUsage:
    caller, endpoint = name.decode().rsplit(" ", 1)
    return DailyUsage(day, caller, endpoint, *map(int, sums.split()))


def _numbers(reply: object) -> list[int]:
    return [int(number) for number in _as(bytes, reply).split()]


def _ms(seconds: float) -> int:
    return math.ceil(seconds * 1000)


def _as(kind: type[T], reply: object) -> T:
    if not isinstance(reply, kind):
        raise StoreAway(reason="a script of the ledger answered something else")
    return reply

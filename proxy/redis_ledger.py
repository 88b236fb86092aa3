"""The ledger in Redis or Valkey, for any number of workers and replicas.

    {ledger}:ticket:<ticket>             hash: what was said to it, its job; its record while the reservation is open
    {ledger}:job:<job>                   hash: the record of its ticket
    {ledger}:due                         sorted set: tickets of open reservations, by the end of their ttl
    {ledger}:spent:<account>:<bucket>    "used reserved"
    {ledger}:seats:<account>             sorted set: tickets that hold a seat, by the end of their lease
    {ledger}:day:<date>                  hash: "caller endpoint" -> the sums of a DayLine
    {ledger}:key:<key>                   hash: an idempotency key's body hash, owner, times and answer

One hash tag, so one node of a Cluster holds them all and a step is atomic there, too. A step that starts from a job or a
ticket first reads its record, which never changes, to know the keys it must name; all it decides, it decides in itself.

All times are those the caller passes: what is old by them does not count, whether it is still stored or not. The keys'
TTLs, in the server's own time, only throw away what nobody can ask for any more, with room for clocks that disagree.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from typing import TypeVar

import orjson

from proxy import ledger_scripts as scripts
from proxy.budgets import Charge, Seat
from proxy.errors import StoreAway
from proxy.ledger import Claim, DayLine, Entry, Reserved, Shortfall, Standing, Stored
from proxy.prices import Micros
from proxy.store import RedisStore

CLOCKS = 3_600.0  # seconds that clocks may disagree, or be set back, before a key is thrown away too early
UNSWEPT = 7 * 86_400.0  # seconds that a reservation past its ttl waits for a sweep before it is forgotten
MOST = 2**53 - 1  # a limit or an amount beyond is taken for this; up to it all sums are exact
AT_ONCE = 100  # reservations swept in one batch

DUE = "{ledger}:due"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Record:
    """What ending a reservation takes: its amount, and the keys it wrote. Kept with it, never changed."""

    ticket: str
    amount: Micros
    day: str
    line: str
    buckets: Sequence[str] = ()
    seats: Sequence[str] = ()


class RedisLedger:
    """*store* is shared with others: whoever made it closes it."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store

    async def reserve(self, ticket: str, entry: Entry, *, now: float) -> Reserved | Shortfall:
        """A ticket that is known already gets the answer it got, and nothing is written."""
        buckets = [_buckets(charge) for charge in entry.charges]
        record = _Record(
            ticket=ticket,
            amount=min(entry.amount, MOST),
            day=_day(datetime.fromtimestamp(now, UTC).date()),
            line=f"{entry.caller} {entry.endpoint}",
            buckets=[current for current, *_ in buckets],
            seats=[_seats(seat) for seat in entry.seats],
        )
        life = max([entry.ttl, *(seat.lease for seat in entry.seats)]) + UNSWEPT
        args: list[bytes | str | int] = [ticket, orjson.dumps(record), repr(now), repr(now - CLOCKS)]
        args += [repr(now + entry.ttl), _ms(life), record.line, record.amount, len(buckets), len(entry.seats)]
        for charge, keys in zip(entry.charges, buckets, strict=True):
            args += [len(keys), min(charge.limit, MOST), int(charge.enforce), _ms(charge.ttl + CLOCKS)]
        for seat in entry.seats:
            args += [seat.limit, int(seat.enforce), repr(now + seat.lease), _ms(seat.lease + CLOCKS)]
        keys = [_ticket(ticket), DUE, record.day, *chain(*buckets), *record.seats]
        reserved, *short = _numbers(await self._store.run(scripts.RESERVE, keys, args))
        shortfalls = _shortfalls(entry, short)
        return Reserved(shortfalls) if reserved else shortfalls[0]

    async def accept(self, ticket: str, job: str, *, now: float) -> None:
        await self._store.run(scripts.ACCEPT, [_ticket(ticket), _job(job)], [job])

    async def refund(self, ticket: str, *, now: float) -> None:
        record = await self._find(_ticket(ticket))
        if record is not None:
            await self._end(record, freed=record.seats, spent=0)

    async def settle(self, job: str, *, amount: Micros | None, now: float) -> bool:
        record = await self._find(_job(job))
        if record is None:
            return False
        amount = record.amount if amount is None else max(0, min(amount, MOST))
        spent = min(amount, record.amount)
        return await self._end(record, freed=record.seats, spent=spent, overrun=amount - spent, job=job)

    async def release(self, job: str, *, now: float) -> None:
        record = await self._find(_job(job))
        if record is not None and record.seats:
            await self._store.run(scripts.RELEASE, record.seats, [record.ticket])

    async def sweep(self, *, now: float, limit: int = 1000) -> int:
        """Each reservation is a step of its own. All else that is old goes by its TTL."""
        swept = 0
        for done in range(0, limit, AT_ONCE):
            count = min(AT_ONCE, limit - done)
            due = _as(list, await self._store.run(scripts.DUE, [DUE], [repr(now), count]))
            swept += sum(await asyncio.gather(*(self._lapse(ticket.decode()) for ticket in due)))
            if len(due) < count:
                break
        return swept

    async def standings(
        self, charges: tuple[Charge, ...], seats: tuple[Seat, ...], *, now: float
    ) -> tuple[Standing, ...]:
        buckets = [_buckets(charge) for charge in charges]
        keys = [*chain(*buckets), *map(_seats, seats)]
        numbers = iter(_numbers(await self._store.run(scripts.STANDINGS, keys, [repr(now), *map(len, buckets)])))
        drawn = [Standing(c.budget, c.limit, next(numbers), next(numbers), c.renews_at) for c in charges]
        return (*drawn, *(Standing(seat.name, seat.limit, next(numbers), 0, None) for seat in seats))

    async def report(self, *, since: date, until: date) -> tuple[DayLine, ...]:
        days = [since + timedelta(n) for n in range((until - since).days + 1)]
        return tuple([line for day in days for line in await self._lines(day)])

    async def claim(
        self, key: str, body_hash: str, *, owner: str, now: float, ttl: float, hold: float
    ) -> Claim | Stored:
        """To its owner a key within *hold* is FRESH again: a claim that timed out may have been made."""
        args = [repr(now), body_hash, owner, repr(now + hold), repr(now + ttl), _ms(ttl + CLOCKS)]
        said = await self._store.run(scripts.CLAIM, [_key(key)], args)
        return Stored(_as(bytes, said[0])) if isinstance(said, list) else Claim(_as(bytes, said).decode())

    async def store(self, key: str, answer: bytes, *, owner: str, now: float, ttl: float) -> None:
        await self._store.run(
            scripts.STORE, [_key(key)], [repr(now), owner, answer, repr(now + ttl), _ms(ttl + CLOCKS)]
        )

    async def free(self, key: str, *, owner: str) -> None:
        await self._store.run(scripts.FREE, [_key(key)], [owner])

    async def ping(self) -> None:
        await self._store.ping()

    async def aclose(self) -> None:
        """Nothing here is ours to close."""

    async def warnings(self) -> tuple[str, ...]:
        """How the server is set up to lose what it is told, in words for the log. Raises StoreAway."""
        info = _as(bytes, await self._store.run(scripts.INFO, [], [])).decode()
        facts = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
        return tuple(warning for (name, wanted), warning in _WARNINGS.items() if facts.get(name, wanted) != wanted)

    async def _find(self, key: str) -> _Record | None:
        found = await self._store.run(scripts.FIND, [key], [])
        return None if found is None else _Record(**orjson.loads(_as(bytes, found)))

    async def _lapse(self, ticket: str) -> bool:
        """Its seats end with their leases. Of a ticket that is gone only the place among those due is left to go."""
        record = await self._find(_ticket(ticket)) or _Record(ticket, 0, DUE, "")
        return await self._end(record, freed=(), spent=record.amount, unsettled=record.amount)

    async def _end(
        self,
        record: _Record,
        *,
        freed: Sequence[str],
        spent: Micros,
        unsettled: Micros = 0,
        overrun: Micros = 0,
        job: str | None = None,
    ) -> bool:
        keys = [_ticket(record.ticket), DUE, record.day, *record.buckets, *freed]
        if job is not None:
            keys.append(_job(job))
        args: list[bytes | str | int] = [record.ticket, record.line, len(record.buckets), len(freed)]
        args += [spent, -record.amount, record.amount - spent, unsettled, overrun]
        return await self._store.run(scripts.END, keys, args) == 1

    async def _lines(self, day: date) -> list[DayLine]:
        """Read in parts, so that a long day does not hold up the server; a part may come twice."""
        found: dict[bytes, bytes] = {}
        cursor = None
        while cursor != b"0":
            cursor, pairs = _as(list, await self._store.run(scripts.LINES, [_day(day)], [cursor or 0]))
            found.update(zip(pairs[::2], pairs[1::2], strict=True))
        return [_line(day, name, sums) for name, sums in sorted(found.items())]


_WARNINGS = {
    ("maxmemory_policy", "noeviction"): "maxmemory-policy is not noeviction: what was spent may be thrown away",
    ("aof_enabled", "1"): "appendonly is off: a restart forgets what was spent since the last snapshot",
}


def _ticket(ticket: str) -> str:
    return f"{{ledger}}:ticket:{ticket}"


def _job(job: str) -> str:
    return f"{{ledger}}:job:{job}"


def _day(day: date) -> str:
    return f"{{ledger}}:day:{day.isoformat()}"


def _key(key: str) -> str:
    return f"{{ledger}}:key:{key}"


def _seats(seat: Seat) -> str:
    return f"{{ledger}}:seats:{seat.account}"


def _buckets(charge: Charge) -> list[str]:
    """All that count, the current one first."""
    others = [bucket for bucket in charge.counted if bucket != charge.current]
    return [f"{{ledger}}:spent:{charge.account}:{bucket}" for bucket in (charge.current, *others)]


def _shortfalls(entry: Entry, short: Sequence[int]) -> tuple[Shortfall, ...]:
    """*short* in pairs: the index of a charge, or beyond them of a seat, and what is left of it."""
    return tuple(_shortfall(entry, index, left) for index, left in zip(short[::2], short[1::2], strict=True))


def _shortfall(entry: Entry, index: int, left: int) -> Shortfall:
    if index < len(entry.charges):
        charge = entry.charges[index]
        return Shortfall("budget", charge.budget, charge.limit, left, charge.renews_at)
    seat = entry.seats[index - len(entry.charges)]
    return Shortfall("in-flight", seat.name, seat.limit, left, None)


def _line(day: date, name: bytes, sums: bytes) -> DayLine:
    caller, endpoint = name.decode().rsplit(" ", 1)
    return DayLine(day, caller, endpoint, *map(int, sums.split()))


def _numbers(reply: object) -> list[int]:
    return [int(number) for number in _as(bytes, reply).split()]


def _ms(seconds: float) -> int:
    return math.ceil(seconds * 1000)


def _as(kind: type[T], reply: object) -> T:
    if not isinstance(reply, kind):
        raise StoreAway(reason="a script of the ledger answered something else")
    return reply

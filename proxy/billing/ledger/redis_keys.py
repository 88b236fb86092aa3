"""How the Redis ledger names its keys.

    {ledger}:ticket:<ticket>             hash of an open reservation: its record, what was said to it, its job's key
    {ledger}:job:<job>                   hash: the record of its ticket
    {ledger}:due                         sorted set: tickets of open reservations, by the end of their ttl
    {ledger}:spent:<account>:<bucket>    "used reserved"
    {ledger}:seats:<account>             sorted set: tickets that hold a seat, by the end of their lease
    {ledger}:day:<date>                  hash: "caller endpoint" -> the sums of a DayLine
    {ledger}:key:<key>                   hash of an idempotency key: body hash, owner, times, answer

One hash tag, so one node of a Cluster holds them all, and a step is atomic there, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from proxy.billing.ledger.interface import Charge, InFlightSlot
from proxy.billing.ledger.money import Micros

DUE = "{ledger}:due"


@dataclass(frozen=True, slots=True)
class Record:
    """What ending a reservation takes: its amount, and the keys it wrote. Kept with it, never changed."""

    ticket: str
    amount: Micros
    day: str
    line: str
    buckets: Sequence[str] = ()
    seats: Sequence[str] = ()


def reservation_key(ticket: str) -> str:
    return f"{{ledger}}:ticket:{ticket}"


def job_key(job: str) -> str:
    return f"{{ledger}}:job:{job}"


def day_key(day: date) -> str:
    return f"{{ledger}}:day:{day.isoformat()}"


def idempotency_key(key: str) -> str:
    return f"{{ledger}}:key:{key}"


def slot_key(seat: InFlightSlot) -> str:
    return f"{{ledger}}:seats:{seat.account}"


def bucket_keys(charge: Charge) -> list[str]:
    """One for each bucket that counts, the current one first."""
    others = range(charge.oldest, charge.current)
    return [f"{{ledger}}:spent:{charge.account}:{bucket}" for bucket in (charge.current, *others)]

"""Values of the interface from the replies of the scripts.

Pure. Raises StoreAway for a reply of another shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TypeVar, cast

from proxy.billing.ledger.interface import (
    AllowanceStatus,
    Call,
    Charge,
    Crossing,
    DailyUsage,
    Granted,
    InFlightSlot,
    LimitExceeded,
    ReservationRequest,
)
from proxy.billing.ledger.jobs import Credit, JobRecord, JobState
from proxy.errors import StoreAway

T = TypeVar("T")


def expect(kind: type[T], reply: object) -> T:
    """Returns *reply*. Raises StoreAway if it is not of *kind*."""
    if not isinstance(reply, kind):
        raise StoreAway(reason="a script of the ledger returned something else")
    return reply


def texts(reply: object) -> list[str]:
    """Returns a list of texts."""
    return [expect(bytes, item).decode() for item in expect(list, reply)]


def integers(reply: object) -> list[int]:
    """Returns the integers of a text like "3 0 250"."""
    return [int(number) for number in expect(bytes, reply).split()]


def read_granted(reply: Sequence[object], request: ReservationRequest) -> Granted:
    observed, crossed = _pairs(reply[1]), _pairs(reply[2])
    return Granted(
        tuple(limit_exceeded(request, index, left) for index, left in observed),
        tuple(_crossing(request.charges[index], percent) for index, percent in crossed),
    )


def read_shortfall(reply: Sequence[object], request: ReservationRequest) -> LimitExceeded:
    index, left, alert = expect(int, reply[1]), int(expect(bytes, reply[2])), reply[3]
    crossed = (_crossing(request.charges[index], 100),) if alert == 1 else ()
    return limit_exceeded(request, index, left, crossed)


def limit_exceeded(
    request: ReservationRequest, index: int, left: int, crossed: tuple[Crossing, ...] = ()
) -> LimitExceeded:
    """Returns the shortfall of one limit. *index* counts the charges, then the slots."""
    if index < len(request.charges):
        charge = request.charges[index]
        # A price above the limit itself never fits, so waiting does not help.
        renews_at = charge.renews_at if request.amount <= charge.limit else None
        return LimitExceeded("budget", charge.budget, charge.limit, left, renews_at, crossed)
    slot = request.slots[index - len(request.charges)]
    return LimitExceeded("in-flight", slot.name, slot.limit, left, None)


def read_call(fields: Sequence[object], *, alive: bool) -> Call:
    """Returns a call from id, job, alias, created and answer."""
    call_id, job, alias, created, answer = (expect(bytes, field) for field in fields[:5])
    return Call(
        id=call_id.decode(),
        job=job.decode() or None,
        key_alias=alias.decode(),
        created=float(created),
        answer=answer[1:] if answer else None,  # it begins with "+", so that an empty one differs from none
        alive=alive,
    )


def read_record(reply: object) -> JobRecord:
    call_id, job, alias, caller, endpoint, state, amount, price, created, ended = texts(reply)
    return JobRecord(
        id=call_id,
        job=job or None,
        key_alias=alias,
        caller=caller,
        endpoint=endpoint,
        state=cast(JobState, state),
        amount=int(amount),
        price=int(price) if price else None,
        created=float(created),
        ended=float(ended) if ended else None,
    )


def read_records(reply: object) -> tuple[JobRecord, ...]:
    return tuple(map(read_record, expect(list, reply)))


def read_open_calls(reply: object) -> tuple[int, tuple[JobRecord, ...]]:
    """Returns the number of open calls, and the records of the reply, newest first."""
    number, records = expect(list, reply)
    newest = sorted(read_records(records), key=lambda record: record.created, reverse=True)
    return expect(int, number), tuple(newest)


def read_statuses(
    reply: object, charges: Sequence[Charge], slots: Sequence[InFlightSlot]
) -> tuple[AllowanceStatus, ...]:
    numbers = iter(integers(reply))
    budgets = [
        AllowanceStatus(c.budget, c.limit, next(numbers), next(numbers), c.renews_at, credit=next(numbers))
        for c in charges
    ]
    in_flight = [AllowanceStatus(slot.name, slot.limit, next(numbers), 0, None, kind="in-flight") for slot in slots]
    return (*budgets, *in_flight)


def read_usage(day: date, name: bytes, sums: bytes) -> DailyUsage:
    caller, endpoint = name.decode().rsplit(" ", 1)
    return DailyUsage(day, caller, endpoint, *map(int, sums.split()))


def read_credit(reply: object) -> Credit:
    credit_id, account, amount, left, expires = texts(reply)
    return Credit(credit_id, account, int(amount), int(left), float(expires) if expires else None)


def _pairs(reply: object) -> list[tuple[int, int]]:
    numbers = integers(reply)
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _crossing(charge: Charge, percent: int) -> Crossing:
    return Crossing(charge.budget, charge.account, percent, charge.limit)

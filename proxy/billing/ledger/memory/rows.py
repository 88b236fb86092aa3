"""Rows of the ledger's tables: columns, and records as values in their order.

Shared by the journal and by `dump`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TypeVar, cast

import orjson

from proxy.billing.ledger.interface import Granted, LimitExceeded
from proxy.billing.ledger.jobs import JobRecord, JobState, Row
from proxy.billing.ledger.memory.records import (
    Bucket,
    ChargePart,
    CreditRecord,
    EndedJob,
    KeyRecord,
    Note,
    Reservation,
)
from proxy.strict_json import Json

Value = str | int | float | bytes | None
Values = tuple[Value, ...]

# JSON in a column: parts [[account, bucket, amount, [[credit, amount]]]], slots [[account, until, lease]],
# observed [[kind, name, limit, left, renews_at]].
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "reservation": (
        *("id", "caller", "endpoint", "day", "amount", "created", "until", "parts", "slots", "observed"),
        *("claim", "job", "key_alias", "running", "open", "due", "looked"),
    ),
    "note": ("id", "fingerprint", "rejoin", "worker", "created", "lost_at", "job", "key_alias"),
    "claim": (
        *("key", "body_hash", "owner", "held_until", "until", "created", "worker", "answer", "job", "key_alias"),
    ),
    "bucket": ("account", "id", "used", "reserved", "until", "alerted"),
    "credit": ("id", "account", "amount", "left_over", "expires"),
    "blocked": ("caller",),
    "day": ("day", "caller", "endpoint", "submits", "used", "reserved", "refunded", "unsettled", "overrun"),
    "job": (
        *("caller", "created", "id", "name", "job", "key_alias", "endpoint", "state", "amount", "price", "ended"),
        *("day", "parts", "refunded"),
    ),
}


def reservation_values(record: Reservation) -> Values:
    return (
        record.id,
        record.caller,
        record.endpoint,
        record.day,
        record.amount,
        record.created,
        record.until,
        encode_parts(record.parts),
        _encode(record.slots),
        "" if not record.result.observed else _encode([_observed(one) for one in record.result.observed]),
        record.key,
        record.job,
        record.key_alias,
        int(record.running),
        int(record.open),
        record.due,
        record.looked,
    )


def read_reservation(row: Sequence[Value]) -> Reservation:
    reader = _Reader(row)
    record = Reservation(
        id=reader.take(str),
        caller=reader.take(str),
        endpoint=reader.take(str),
        day=reader.take(str),
        amount=reader.take(int),
        created=reader.number(),
        until=reader.number(),
        parts=decode_parts(reader.take(str)),
        slots=tuple((account, until, lease) for account, until, lease in orjson.loads(reader.take(str))),
        result=Granted(_decode_observed(reader.take(str))),
        key=reader.optional(str),
        job=reader.optional(str),
        key_alias=reader.take(str),
        running=bool(reader.take(int)),
        open=bool(reader.take(int)),
        due=reader.number(),
        looked=reader.number(),
    )
    # A call without a job ran in the process that wrote it, which has ended.
    record.running = record.running and record.job is not None
    return record


def note_values(record: Note) -> Values:
    return (
        record.id,
        record.fingerprint,
        record.rejoin,
        record.worker,
        record.created,
        record.lost_at,
        record.job,
        record.key_alias,
    )


def read_note(row: Sequence[Value]) -> Note:
    reader = _Reader(row)
    return Note(
        id=reader.take(str),
        fingerprint=reader.take(str),
        rejoin=reader.number(),
        worker=reader.take(str),
        created=reader.number(),
        lost_at=reader.optional_number(),
        job=reader.optional(str),
        key_alias=reader.take(str),
    )


def key_values(record: KeyRecord) -> Values:
    return (
        record.key,
        record.body_hash,
        record.owner,
        record.held_until,
        record.until,
        record.created,
        record.worker,
        record.answer,
        record.job,
        record.key_alias,
    )


def read_key(row: Sequence[Value]) -> KeyRecord:
    reader = _Reader(row)
    return KeyRecord(
        key=reader.take(str),
        body_hash=reader.take(str),
        owner=reader.take(str),
        held_until=reader.number(),
        until=reader.number(),
        created=reader.number(),
        worker=reader.take(str),
        answer=reader.optional(bytes),
        job=reader.optional(str),
        key_alias=reader.take(str),
    )


def bucket_values(account: str, number: int, record: Bucket) -> Values:
    return (account, number, record.used, record.reserved, record.until, record.alerted)


def read_bucket(row: Sequence[Value]) -> tuple[str, int, Bucket]:
    reader = _Reader(row)
    account, number = reader.take(str), reader.take(int)
    return account, number, Bucket(reader.take(int), reader.take(int), reader.number(), reader.take(int))


def credit_values(record: CreditRecord) -> Values:
    return (record.id, record.account, record.amount, record.left, record.expires)


def read_credit(row: Sequence[Value]) -> CreditRecord:
    reader = _Reader(row)
    return CreditRecord(
        reader.take(str), reader.take(str), reader.take(int), reader.take(int), reader.optional_number()
    )


def ended_values(ended: EndedJob) -> Values:
    record = ended.record
    return (
        record.caller,
        record.created,
        record.id,
        record.job or record.id,
        record.job,
        record.key_alias,
        record.endpoint,
        record.state,
        record.amount,
        record.price,
        record.ended,
        ended.day,
        encode_parts(ended.parts),
        int(ended.refunded),
    )


def read_ended(row: Sequence[Value]) -> EndedJob:
    reader = _Reader(row)
    caller, created, number = reader.take(str), reader.number(), reader.take(str)
    reader.take(str)
    record = JobRecord(
        id=number,
        job=reader.optional(str),
        key_alias=reader.take(str),
        caller=caller,
        endpoint=reader.take(str),
        state=cast(JobState, reader.take(str)),
        amount=reader.take(int),
        price=reader.optional(int),
        created=created,
        ended=reader.optional_number(),
    )
    return EndedJob(record, reader.take(str), decode_parts(reader.take(str)), bool(reader.take(int)))


def encode_parts(parts: tuple[ChargePart, ...]) -> str:
    return _encode(parts)


def decode_parts(text: str) -> tuple[ChargePart, ...]:
    return tuple(
        (account, bucket, amount, tuple((credit, share) for credit, share in draws))
        for account, bucket, amount, draws in orjson.loads(text)
    )


def dump_row(table: str, values: Sequence[Value]) -> Row:
    """Returns *values* of *table* as a row of a dump; bytes become base64."""
    columns: dict[str, Json] = {
        name: base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value
        for name, value in zip(COLUMNS[table], values, strict=True)
    }
    return table, columns


def load_row(row: Row) -> tuple[str, Values]:
    """Returns the table and the values of a row of a dump. Raises ValueError for another shape."""
    table, columns = row
    if table not in COLUMNS or set(columns) != set(COLUMNS[table]):
        raise ValueError(f"a row of the table {table} has other columns")
    values: list[Value] = []
    for name in COLUMNS[table]:
        value = columns[name]
        if value is None or isinstance(value, str | int | float):
            values.append(base64.b64decode(value) if name == "answer" and isinstance(value, str) else value)
        else:
            raise ValueError(f"{table}.{name} is not a scalar")
    return table, tuple(values)


def _observed(short: LimitExceeded) -> tuple[str, str, int, int, float | None]:
    return (short.kind, short.name, short.limit, short.left, short.renews_at)


def _decode_observed(text: str) -> tuple[LimitExceeded, ...]:
    return tuple(LimitExceeded(*fields) for fields in orjson.loads(text)) if text else ()


def _encode(value: object) -> str:
    return orjson.dumps(value).decode()


T = TypeVar("T", str, int, bytes)


class _Reader:
    """Values of a row in order, each checked for its type. Raises ValueError for another one."""

    def __init__(self, row: Sequence[Value]) -> None:
        self._values = iter(row)

    def take(self, kind: type[T]) -> T:
        value = next(self._values)
        if isinstance(value, kind):
            return value
        raise ValueError(f"{value!r} in place of {kind.__name__}")

    def optional(self, kind: type[T]) -> T | None:
        value = next(self._values)
        if value is None or isinstance(value, kind):
            return value
        raise ValueError(f"{value!r} in place of {kind.__name__}")

    def number(self) -> float:
        value = next(self._values)
        if isinstance(value, int | float):
            return float(value)
        raise ValueError(f"{value!r} in place of a number")

    def optional_number(self) -> float | None:
        value = next(self._values)
        if value is None or isinstance(value, int | float):
            return value
        raise ValueError(f"{value!r} in place of a number")

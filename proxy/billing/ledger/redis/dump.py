"""Rows of the Redis ledger for `ledger migrate` and `ledger backup`, as `memory.rows` describes them.

Notes of lost calls and the answers stored for them are left out: they are of use for two minutes only.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import orjson

from proxy.billing.ledger.jobs import Row
from proxy.billing.ledger.memory.rows import COLUMNS, Value, Values, dump_row
from proxy.billing.ledger.redis.arguments import Args
from proxy.billing.ledger.redis.replies import expect
from proxy.billing.ledger.redis.scripts.rows import COMMAND, SCAN
from proxy.storage.redis_client import Script

Run = Callable[[Script, Args], Awaitable[object]]
Fields = dict[str, bytes]


async def dump(run: Run) -> AsyncIterator[Row]:
    """Yields everything in the ledger. Raises StoreAway."""
    async for key in keys(run):
        kind, _, name = key.partition(":")
        if kind == "blocked":
            members = expect(list, await run(COMMAND, ["SMEMBERS", key]))
            for member in members:
                yield dump_row("blocked", (member.decode(),))
        elif kind in _READERS:
            fields = await _fields(run, key)
            due = None
            if kind == "call":
                due = await run(COMMAND, ["ZSCORE", "look", name])
            for table, values in _READERS[kind](name, {**fields, **({"due": due} if isinstance(due, bytes) else {})}):
                yield dump_row(table, values)


async def keys(run: Run) -> AsyncIterator[str]:
    """Yields each key once."""
    seen: set[str] = set()
    cursor: bytes | int = 0
    while cursor != b"0":
        cursor, keys = expect(list, await run(SCAN, [cursor]))
        for key in keys:
            text = key.decode()
            if text not in seen:
                seen.add(text)
                yield text


async def _fields(run: Run, key: str) -> Fields:
    items = expect(list, await run(COMMAND, ["HGETALL", key]))
    return {name.decode(): value for name, value in zip(items[::2], items[1::2], strict=True)}


def _text(fields: Fields, name: str, default: str = "") -> str:
    return fields[name].decode() if name in fields else default


def _optional(fields: Fields, name: str) -> str | None:
    return _text(fields, name) or None


def _call_rows(call_id: str, fields: Fields) -> Iterator[tuple[str, Values]]:
    if "caller" not in fields:
        return
    created = float(fields["created"])
    shared: dict[str, Value] = {
        "id": call_id,
        "caller": _text(fields, "caller"),
        "endpoint": _text(fields, "endpoint"),
        "day": _text(fields, "day"),
        "amount": int(fields["amount"]),
        "created": created,
        "parts": _text(fields, "parts"),
        "job": _optional(fields, "job"),
        "key_alias": _text(fields, "alias"),
    }
    if fields["open"] == b"1":
        yield "reservation", _row("reservation", shared | _open_columns(fields, created))
    else:
        yield "job", _row("job", shared | _ended_columns(call_id, fields))


def _open_columns(fields: Fields, created: float) -> dict[str, Value]:
    accepted = "job" in fields
    slots = [
        [account, created + lease if accepted else until, lease]
        for account, until, lease in orjson.loads(fields["slots"])
    ]
    return {
        "until": float(fields["until"]),
        "slots": orjson.dumps(slots).decode(),
        "observed": "",
        "claim": _optional(fields, "key"),
        "running": int(fields["state"] == b"running"),
        "open": 1,
        "due": float(fields.get("due", b"0")),
        "looked": float(fields.get("looked", b"0")),
    }


def _ended_columns(call_id: str, fields: Fields) -> dict[str, Value]:
    return {
        "name": _text(fields, "job") or call_id,
        "state": _text(fields, "state"),
        "price": int(fields["price"]),
        "ended": float(fields["ended"]),
        "refunded": int("refunded" in fields),
    }


def _key_rows(key: str, fields: Fields) -> Iterator[tuple[str, Values]]:
    yield (
        "claim",
        (
            key,
            _text(fields, "hash"),
            _text(fields, "owner"),
            float(fields["held"]),
            float(fields["kept"]),
            float(fields.get("created", b"0")),
            _text(fields, "worker"),
            fields.get("answer"),
            _optional(fields, "job"),
            _text(fields, "alias"),
        ),
    )


def _bucket_rows(account: str, fields: Fields) -> Iterator[tuple[str, Values]]:
    for bucket, text in fields.items():
        used, reserved, alerted, until = map(int, text.split())
        yield "bucket", (account, int(bucket), used, reserved, float(until) or math.inf, alerted)


def _credit_rows(account: str, fields: Fields) -> Iterator[tuple[str, Values]]:
    for name, text in fields.items():
        amount, left, expires = text.decode().split(" ")
        yield "credit", (name, account, int(amount), int(left), float(expires) if expires else None)


def _day_rows(day: str, fields: Fields) -> Iterator[tuple[str, Values]]:
    for line, sums in fields.items():
        yield "day", (day, *line.rsplit(" ", 1), *map(int, sums.split()))


_READERS: dict[str, Callable[[str, Fields], Iterator[tuple[str, Values]]]] = {
    "call": _call_rows,
    "key": _key_rows,
    "spent": _bucket_rows,
    "credit": _credit_rows,
    "day": _day_rows,
}


def _row(table: str, columns: dict[str, Value]) -> Values:
    return tuple(columns[name] for name in COLUMNS[table])

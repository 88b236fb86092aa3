"""Writes the rows of a dump into an empty Redis ledger."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

import orjson

from proxy.billing.ledger.jobs import Row
from proxy.billing.ledger.memory.rows import COLUMNS, Value, Values, load_row
from proxy.billing.ledger.redis.arguments import CLOCK_SKEW, ENDED_TTL, UNSWEPT_TTL, Args, milliseconds
from proxy.billing.ledger.redis.dump import keys
from proxy.billing.ledger.redis.scripts.rows import COMMAND
from proxy.storage.redis_client import Script

LOAD_BATCH = 500  # commands sent at once
DAY_TTL = 400 * 86_400.0  # seconds that the sums of a day stay
TABLES = ("call", "key", "spent", "credit", "day", "blocked")

Run = Callable[[Script, Args], Awaitable[object]]
Columns = Mapping[str, Value]
Command = tuple[bytes | str | int, ...]


async def load(run: Run, rows: AsyncIterator[Row], *, now: float) -> int:
    """Fills an empty ledger with *rows*, and returns how many.

    Raises ValueError if it is not empty, and StoreAway.
    """
    async for key in keys(run):
        if key.partition(":")[0] in TABLES:
            raise ValueError("the ledger in the store is not empty")
    count, batch = 0, []
    async for row in rows:
        count += 1
        batch += _commands(*load_row(row), now)
        if len(batch) >= LOAD_BATCH:
            await _write(run, batch)
            batch = []
    await _write(run, batch)
    return count


async def _write(run: Run, commands: Sequence[Command]) -> None:
    await asyncio.gather(*(run(COMMAND, list(command)) for command in commands))


def _commands(table: str, values: Values, now: float) -> list[Command]:
    """Returns the commands that write one row."""
    columns = {name: value for name, value in zip(COLUMNS[table], values, strict=True) if value is not None}
    writer = _WRITERS.get(table)
    return [] if writer is None else writer(columns, now)


def _number(columns: Columns, name: str) -> float:
    value = columns.get(name, 0)
    if not isinstance(value, int | float):
        raise ValueError(f"{name} is not a number")  # noqa: TRY004 - a fault of the file, not of the code
    return float(value)


def _string(columns: Columns, name: str) -> str:
    return str(columns.get(name, ""))


def _hash(key: str, fields: Columns, ms: int | None) -> list[Command]:
    items = [item for name, value in fields.items() if value not in (None, "") for item in (name, _argument(value))]
    commands: list[Command] = [("HSET", key, *items)]
    return commands if ms is None else [*commands, ("PEXPIRE", key, max(1, ms))]


def _argument(value: Value) -> bytes | str | int:
    return repr(value) if isinstance(value, float) else value or 0


def _call_commands(columns: Columns, fields: Columns, ms: int) -> list[Command]:
    call_id, caller = _string(columns, "id"), _string(columns, "caller")
    shared = {name: columns.get(name) for name in ("caller", "endpoint", "day", "amount", "created", "parts", "job")}
    shared["alias"] = columns.get("key_alias")
    commands = _hash(f"call:{call_id}", {**shared, **fields}, ms)
    commands += [("ZADD", f"jobs:{caller}", repr(_number(columns, "created")), call_id)]
    commands += [("PEXPIRE", f"jobs:{caller}", milliseconds(ENDED_TTL + UNSWEPT_TTL))]
    if "job" in columns:
        commands += [("SET", f"job:{_string(columns, 'job')}", call_id, "PX", max(1, ms))]
    return commands


def _write_reservation(columns: Columns, now: float) -> list[Command]:
    call_id, until = _string(columns, "id"), _number(columns, "until")
    ms = milliseconds(max(0.0, until - now) + UNSWEPT_TTL)
    fields: dict[str, Value] = {
        "open": "1",
        "until": until,
        "slots": columns.get("slots"),
        "state": "running" if columns.get("running") else "queued",
        "key": columns.get("claim"),
        "looked": columns.get("looked"),
        "worker": "-",
        "said": " ",
    }
    commands = [*_call_commands(columns, fields, ms), ("ZADD", "due", repr(until), call_id), ("PEXPIRE", "due", ms)]
    if "job" in columns:
        commands += [("ZADD", "look", repr(_number(columns, "due")), call_id), ("PEXPIRE", "look", ms)]
    for account, ends, lease in orjson.loads(_string(columns, "slots")):
        holders = f"slots:{account}"
        commands += [("ZADD", holders, repr(ends), call_id)]
        commands += [("PEXPIRE", holders, milliseconds(lease + CLOCK_SKEW))]
    return commands


def _write_job(columns: Columns, now: float) -> list[Command]:
    left = _number(columns, "ended") + ENDED_TTL - now
    if left <= 0:
        return []
    fields: dict[str, Value] = {name: columns.get(name) for name in ("state", "price", "ended")}
    fields |= {"open": "0", "slots": "[]", "refunded": "1" if columns.get("refunded") else None}
    return _call_commands(columns, fields, milliseconds(left))


def _write_claim(columns: Columns, now: float) -> list[Command]:
    left = _number(columns, "until") - now
    if left <= 0:
        return []
    fields: dict[str, Value] = {
        "hash": columns.get("body_hash"),
        "owner": columns.get("owner"),
        "held": _number(columns, "held_until"),
        "kept": _number(columns, "until"),
        "created": _number(columns, "created"),
        "worker": columns.get("worker"),
        "answer": columns.get("answer"),
        "job": columns.get("job"),
        "alias": columns.get("key_alias"),
    }
    return _hash(f"key:{_string(columns, 'key')}", fields, milliseconds(left + CLOCK_SKEW))


def _write_bucket(columns: Columns, now: float) -> list[Command]:
    until = _number(columns, "until") if "until" in columns else math.inf
    lifetime = math.isinf(until)
    sums = [_string(columns, name) for name in ("used", "reserved", "alerted")]
    text = " ".join([*sums, str(0 if lifetime else math.ceil(until))])
    key = f"spent:{_string(columns, 'account')}"
    commands: list[Command] = [("HSET", key, _string(columns, "id"), text)]
    if not lifetime:
        # GT alone leaves a key without a TTL as it is.
        ms = milliseconds(max(0.0, until - now) + CLOCK_SKEW)
        commands += [("PEXPIRE", key, ms, "NX"), ("PEXPIRE", key, ms, "GT")]
    return commands


def _write_credit(columns: Columns, now: float) -> list[Command]:
    account = _string(columns, "account")
    expires = repr(_number(columns, "expires")) if "expires" in columns else ""
    text = f"{_string(columns, 'amount')} {_string(columns, 'left_over')} {expires}"
    return [("HSET", f"credit:{account}", _string(columns, "id"), text), ("SADD", "credits", account)]


def _write_blocked(columns: Columns, now: float) -> list[Command]:
    return [("SADD", "blocked", _string(columns, "caller"))]


def _write_day(columns: Columns, now: float) -> list[Command]:
    key, line = f"day:{_string(columns, 'day')}", f"{_string(columns, 'caller')} {_string(columns, 'endpoint')}"
    sums = " ".join(_string(columns, name) for name in COLUMNS["day"][3:])
    return [("HSET", key, line, sums), ("PEXPIRE", key, milliseconds(DAY_TTL))]


_WRITERS: dict[str, Callable[[Columns, float], list[Command]]] = {
    "reservation": _write_reservation,
    "job": _write_job,
    "claim": _write_claim,
    "bucket": _write_bucket,
    "credit": _write_credit,
    "blocked": _write_blocked,
    "day": _write_day,
}

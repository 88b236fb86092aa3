"""What is told of allowances: to a caller about their own, to the operator about everybody's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Literal

from proxy.billing.ledger.interface import DayLine, Standing
from proxy.billing.ledger.money import MICRO
from proxy.billing.shortfalls import rfc3339
from proxy.strict_json import Json

By = Literal["user", "endpoint", "day"]

_KEYS: dict[By, Callable[[DayLine], str]] = {
    "user": lambda line: line.caller,
    "endpoint": lambda line: line.endpoint,
    "day": lambda line: line.day.isoformat(),
}
_AMOUNTS = ("used", "reserved", "refunded", "unsettled", "overrun")


def usage_of(standings: Iterable[Standing]) -> Json:
    """`{"budgets": [{name, limit, used, reserved, left, renews_at}], "in_flight": [{name, limit, used, left}]}`.

    A budget that counts each endpoint for itself stands there once for each, with its `endpoint`.
    """
    budgets: list[Json] = []
    in_flight: list[Json] = []
    for standing in standings:
        if standing.renews_at is None:
            left = max(standing.limit - standing.used, 0)
            in_flight.append({"name": standing.name, "limit": standing.limit, "used": standing.used, "left": left})
            continue
        left = max(standing.limit - standing.used - standing.reserved, 0)
        budgets.append(
            {
                "name": standing.name,
                **({} if standing.endpoint is None else {"endpoint": standing.endpoint}),
                "limit": standing.limit / MICRO,
                "used": standing.used / MICRO,
                "reserved": standing.reserved / MICRO,
                "left": left / MICRO,
                "renews_at": rfc3339(standing.renews_at),
            }
        )
    return {"now": rfc3339(datetime.now(UTC).timestamp()), "budgets": budgets, "in_flight": in_flight}


def summed(lines: Iterable[DayLine], by: By) -> list[dict[str, Json]]:
    """One row for each user, endpoint or day, in order; amounts in the operator's units."""
    rows: dict[str, dict[str, int]] = {}
    for line in lines:
        row = rows.setdefault(_KEYS[by](line), dict.fromkeys(("submits", *_AMOUNTS), 0))
        for name in row:
            row[name] += getattr(line, name)
    return [
        {by: key, "submits": row["submits"], **{name: row[name] / MICRO for name in _AMOUNTS}}
        for key, row in sorted(rows.items())
    ]


def table(rows: list[dict[str, Json]]) -> str:
    """*rows* in columns for a terminal; a note where there are none."""
    if not rows:
        return "nothing was spent"
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def _cell(value: Json) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)

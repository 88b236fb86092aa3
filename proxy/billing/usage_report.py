"""Usage as JSON, as a table and as CSV: a caller's own limits, and all spending for the operator."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Literal

from proxy.billing.ledger.interface import AllowanceStatus, DailyUsage
from proxy.billing.ledger.money import MICRO
from proxy.billing.shortfalls import rfc3339
from proxy.strict_json import Json

By = Literal["user", "endpoint", "day"]

_KEYS: dict[By, Callable[[DailyUsage], str]] = {
    "user": lambda line: line.caller,
    "endpoint": lambda line: line.endpoint,
    "day": lambda line: line.day.isoformat(),
}
_AMOUNTS = ("used", "reserved", "refunded", "unsettled", "overrun")


def format_usage(statuses: Iterable[AllowanceStatus]) -> Json:
    """Returns `{"budgets": […], "in_flight": […]}` for a caller.

    A budget has name, limit, used, reserved, left and renews_at; a limit of jobs has name, limit, used and left.

    A budget that counts each endpoint separately has one entry for each, with its `endpoint`. One with credits has
    their sum in `credit`, which `left` includes.
    """
    budgets: list[Json] = []
    in_flight: list[Json] = []
    for status in statuses:
        if status.kind == "in-flight":
            left = max(status.limit - status.used, 0)
            in_flight.append({"name": status.name, "limit": status.limit, "used": status.used, "left": left})
        else:
            budgets.append(_budget(status))
    return {"now": rfc3339(datetime.now(UTC).timestamp()), "budgets": budgets, "in_flight": in_flight}


def _budget(status: AllowanceStatus) -> Json:
    return {
        "name": status.name,
        **({} if status.endpoint is None else {"endpoint": status.endpoint}),
        "limit": status.limit / MICRO,
        "used": status.used / MICRO,
        "reserved": status.reserved / MICRO,
        **({"credit": status.credit / MICRO} if status.credit else {}),
        "left": (max(status.limit - status.used - status.reserved, 0) + status.credit) / MICRO,
        "renews_at": None if status.renews_at is None else rfc3339(status.renews_at),
    }


def summed(lines: Iterable[DailyUsage], by: By) -> list[dict[str, Json]]:
    """Returns one row for each user, endpoint or day, in order; amounts in the operator's units."""
    rows: dict[str, dict[str, int]] = {}
    for line in lines:
        row = rows.setdefault(_KEYS[by](line), dict.fromkeys(("submits", *_AMOUNTS), 0))
        for name in row:
            row[name] += getattr(line, name)
    return [
        {by: key, "submits": row["submits"], **{name: row[name] / MICRO for name in _AMOUNTS}}
        for key, row in sorted(rows.items())
    ]


def itemized(lines: Iterable[DailyUsage]) -> list[dict[str, Json]]:
    """Returns one row for each day, user and endpoint, in order; amounts in the operator's units."""
    return [
        {
            "day": line.day.isoformat(),
            "user": line.caller,
            "endpoint": line.endpoint,
            "submits": line.submits,
            **{name: getattr(line, name) / MICRO for name in _AMOUNTS},
        }
        for line in lines
    ]


def table(rows: list[dict[str, Json]], *, empty: str = "nothing was spent") -> str:
    """Returns *rows* in columns for a terminal, or *empty* where there are none."""
    if not rows:
        return empty
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def csv_text(rows: list[dict[str, Json]]) -> str:
    """Returns *rows* as CSV (RFC 4180) with a line of column names; "" where there are none."""
    if not rows:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _cell(value: Json) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)

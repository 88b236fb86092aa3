"""Reads that may take several calls: the sums of days, and a caller's jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date, timedelta

from proxy.billing.ledger.interface import DailyUsage
from proxy.billing.ledger.jobs import Cursor, JobRecord, JobState
from proxy.billing.ledger.redis import replies
from proxy.billing.ledger.redis.arguments import Args
from proxy.billing.ledger.redis.replies import expect
from proxy.billing.ledger.redis.scripts.jobs import DAY, DAYS, JOBS
from proxy.storage.redis_client import Script

REPORT_DAYS = 366  # days searched in one call
JOBS_BATCH = 100  # records read in one call

Run = Callable[[Script, Args], Awaitable[object]]


async def read_usage(run: Run, since: date, until: date) -> tuple[DailyUsage, ...]:
    """Returns all days from *since* to *until*, both included, by day, caller and endpoint.

    Raises StoreAway.
    """
    days = [since + timedelta(n) for n in range((until - since).days + 1)]
    usage: list[DailyUsage] = []
    for start in range(0, len(days), REPORT_DAYS):
        part = days[start : start + REPORT_DAYS]
        for position in expect(list, await run(DAYS, [day.isoformat() for day in part])):
            usage += await _read_day(run, part[position - 1])
    return tuple(usage)


async def read_jobs(
    run: Run, caller: str, states: frozenset[JobState], limit: int, before: Cursor | None
) -> tuple[JobRecord, ...]:
    """Returns a caller's calls with a state in *states*, newest first, older than *before*.

    Raises StoreAway.
    """
    records: list[JobRecord] = []
    created, last = ("", "") if before is None else (repr(before[0]), before[1])
    more = b"1"
    while len(records) < limit and more == b"1":
        args: Args = [caller, limit - len(records), f" {' '.join(sorted(states))} ", created, last, JOBS_BATCH]
        found, more, *cursor = expect(list, await run(JOBS, args))
        records += replies.read_records(found)
        created, last = replies.texts(cursor)
    return tuple(records)


async def _read_day(run: Run, day: date) -> list[DailyUsage]:
    """Reads one day in parts. A line may be read twice."""
    lines: dict[bytes, bytes] = {}
    cursor: bytes | int = 0
    while cursor != b"0":
        cursor, pairs = expect(list, await run(DAY, [day.isoformat(), cursor]))
        lines.update(zip(pairs[::2], pairs[1::2], strict=True))
    return [replies.read_usage(day, name, sums) for name, sums in sorted(lines.items())]

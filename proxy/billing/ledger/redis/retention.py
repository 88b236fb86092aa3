"""Removal of old records from the Redis ledger. Ended calls go by their TTL, sums of days by a sweep."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date, timedelta

from proxy.billing.ledger.jobs import MAX_USAGE_DAYS, Retention
from proxy.billing.ledger.redis.arguments import ENDED_TTL, Args, milliseconds
from proxy.billing.ledger.redis.replies import expect
from proxy.billing.ledger.redis.scripts.admin import DROP_LINES
from proxy.billing.ledger.redis.scripts.jobs import DAY, DAYS
from proxy.storage.redis_client import Script

SHORTEST = 7_200.0  # seconds that an ended call stays at least: a lost call can be joined for an hour

_DEFAULT = Retention()
Run = Callable[[Script, Args], Awaitable[object]]


class RedisRetention:
    """Retention of one worker. *ended* is the seconds that an ended call stays.

    Old days are searched once for each new day, so that a sweep has no further call.
    """

    def __init__(self, retention: Retention = _DEFAULT) -> None:
        self.ended = min(max(retention.jobs, SHORTEST), ENDED_TTL)
        self.ended_ms = milliseconds(self.ended)
        self._retention = retention
        self._oldest: date | None = None

    async def drop_days(self, run: Run, now: float) -> None:
        """Removes the sums of old days, but those of calls that are still open. Raises StoreAway."""
        oldest = self._retention.oldest_day(now)
        if oldest == self._oldest:
            return
        days = [oldest - timedelta(n) for n in range(1, MAX_USAGE_DAYS + 1)]
        for position in expect(list, await run(DAYS, [day.isoformat() for day in days])):
            await _drop_day(run, days[position - 1].isoformat())
        self._oldest = oldest


async def _drop_day(run: Run, day: str) -> None:
    cursor: bytes | int = 0
    while cursor != b"0":
        cursor, pairs = expect(list, await run(DAY, [day, cursor]))
        if pairs:
            await run(DROP_LINES, [day, *pairs[::2]])

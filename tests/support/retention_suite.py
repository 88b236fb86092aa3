"""Tests of the ages of records that every ledger passes, with a clock that moves by hours."""

from __future__ import annotations

from datetime import date, timedelta

from support.redis_ledger import NOW, TODAY, charge, request, slot

from proxy.billing.ledger.interface import Ledger
from proxy.billing.ledger.jobs import Retention

HOUR, DAY = 3600.0, 86_400.0
RETENTION = Retention(jobs=2 * DAY, usage_days=3)
STATES = frozenset({"completed", "queued"})


class RetentionSuite:
    """A subclass has the fixture `ledger`, a ledger of RETENTION."""

    async def test_sums_of_days_go_after_their_days(self, ledger: Ledger) -> None:
        """The lines of a day go once it is older than `usage_days`, on both sides of the border."""
        await spend(ledger, "first", NOW)
        await spend(ledger, "second", NOW + DAY)
        assert await days(ledger) == [TODAY, TODAY + timedelta(1)]

        await pass_time(ledger, 0, 3 * 24)
        assert await days(ledger) == [TODAY, TODAY + timedelta(1)]
        await pass_time(ledger, 3 * 24, 4 * 24)
        assert await days(ledger) == [TODAY + timedelta(1)]
        await pass_time(ledger, 4 * 24, 5 * 24)
        assert await days(ledger) == []

    async def test_sums_of_an_open_call_stay(self, ledger: Ledger) -> None:
        """A line with something reserved stays until its call has ended, and is right then."""
        await spend(ledger, "ended", NOW)
        request_of_days = request(7, charge(ttl=30 * DAY), slots=(slot(9, lease=30 * DAY),), ttl=30 * DAY)
        await ledger.reserve("open", request_of_days, now=NOW)
        await pass_time(ledger, 0, 5 * 24)
        (line,) = await ledger.report(since=TODAY, until=TODAY)
        assert line.reserved == 7

        await ledger.settle_call("open", amount=7, now=NOW + 5 * DAY)
        await pass_time(ledger, 5 * 24, 6 * 24)
        assert await days(ledger) == []


async def spend(ledger: Ledger, call_id: str, now: float) -> None:
    """Settles one call of 10 at *now*."""
    await ledger.reserve(call_id, request(10, charge(1000, ttl=DAY)), now=now)
    await ledger.settle_call(call_id, amount=10, now=now)


async def pass_time(ledger: Ledger, first: int, last: int) -> None:
    """Sweeps at each hour since NOW from *first* to *last*: a jump of the clock counts for one hour."""
    for hour in range(first, last + 1):
        await ledger.sweep(now=NOW + hour * HOUR)
    await ledger.flush()


async def days(ledger: Ledger) -> list[date]:
    lines = await ledger.report(since=TODAY - timedelta(10), until=TODAY + timedelta(10))
    return [line.day for line in lines]


async def ended(ledger: Ledger) -> list[str]:
    """Returns the ids of the caller's ended calls, newest first."""
    return [record.id for record in await ledger.jobs("alice", states=frozenset({"completed"}), limit=10)]

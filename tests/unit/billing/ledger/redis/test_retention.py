"""Tests of the ages of records in Redis: ended calls end by their TTL, sums of days by a sweep."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis import Redis
from support.redis_ledger import NOW, TODAY, opened
from support.retention_suite import DAY, RETENTION, RetentionSuite, ended, pass_time, spend

from proxy.billing.ledger.jobs import Retention
from proxy.billing.ledger.redis.ledger import RedisLedger
from proxy.billing.ledger.redis.retention import SHORTEST, RedisRetention

BASE = "t:{ledger}:"


@pytest.fixture
async def ledger(valkey: str, admin: Redis) -> AsyncIterator[RedisLedger]:
    async with opened(valkey, retention=RETENTION) as ledger:
        yield ledger


class TestRetention(RetentionSuite):
    """The suite over Redis."""

    async def test_ended_jobs_have_their_time_to_live(self, ledger: RedisLedger, admin: Redis) -> None:
        """An ended call lives for two days by the server's own clock; without it the list skips it."""
        await spend(ledger, "ended", NOW)
        assert 2 * DAY - 60 < admin.ttl(f"{BASE}call:ended") <= 2 * DAY
        assert await ended(ledger) == ["ended"]

        admin.pexpire(f"{BASE}call:ended", 1)
        while admin.exists(f"{BASE}call:ended"):
            pass
        assert await ended(ledger) == []

    async def test_days_are_searched_once_a_day(self, ledger: RedisLedger, admin: Redis) -> None:
        """A sweep on the same day has one call alone."""
        await ledger.sweep(now=NOW)
        before = admin.info("commandstats")["cmdstat_exists"]["calls"]
        await ledger.sweep(now=NOW + 10)
        assert admin.info("commandstats")["cmdstat_exists"]["calls"] == before

    async def test_a_long_day_is_removed_in_parts(self, ledger: RedisLedger, admin: Redis) -> None:
        """A day of 5,000 lines goes, but for the line of an open call."""
        for number in range(5000):
            admin.hset(f"{BASE}day:{TODAY}", f"user{number} fal-ai/x", "1 10 0 0 0 0")
        admin.hset(f"{BASE}day:{TODAY}", "open fal-ai/x", "1 0 10 0 0 0")
        await pass_time(ledger, 0, 5 * 24)

        assert admin.hkeys(f"{BASE}day:{TODAY}") == [b"open fal-ai/x"]


@pytest.mark.parametrize(("jobs", "seconds"), [(0.0, SHORTEST), (DAY, DAY), (30 * DAY, 7 * DAY)])
def test_ended_calls_have_bounds(jobs: float, seconds: float) -> None:
    """An ended call stays for two hours at least, for lost callers to join, and for seven days at most."""
    assert RedisRetention(Retention(jobs=jobs)).ended == seconds

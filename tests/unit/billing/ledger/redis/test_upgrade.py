"""Test of the upgrade of a Redis ledger that version 0.1.0 wrote."""

import asyncio

import orjson
from redis import Redis
from support.redis_ledger import NOW, TODAY, charge, opened, slot, sums

from proxy.billing.ledger.interface import KeyState, StoredAnswer

BASE = "t:{ledger}:"


def write_old_layout(admin: Redis) -> None:
    """Writes two open reservations, one of them with a job, and what was spent, as version 0.1.0 did."""
    for n, job in enumerate((None, "fal-ai/x/job-1")):
        name = f"ticket-{n}"
        record = {
            "ticket": name,
            "amount": 10 + n,
            "day": f"{{ledger}}:day:{TODAY}",
            "line": "alice fal-ai/x",
            "buckets": ["{ledger}:spent:daily:alice:20"],
            "seats": ["{ledger}:seats:jobs:alice"],
        }
        admin.hset(f"{BASE}ticket:{name}", mapping={"said": "1", "record": orjson.dumps(record)})
        admin.pexpire(f"{BASE}ticket:{name}", 700_000_000)
        admin.zadd(f"{BASE}due", {name: NOW + 100})
        admin.zadd(f"{BASE}seats:jobs:alice", {name: NOW + 60})
        if job is not None:
            admin.hset(f"{BASE}ticket:{name}", "job", f"{BASE}job:{job}")
            admin.hset(f"{BASE}job:{job}", "record", orjson.dumps(record))
            admin.pexpire(f"{BASE}job:{job}", 700_000_000)
    admin.pexpire(f"{BASE}seats:jobs:alice", 4_000_000)
    admin.set(f"{BASE}spent:daily:alice:19", "7 0", px=3_650_000)
    admin.set(f"{BASE}spent:daily:alice:20", "5 21", px=3_650_000)
    admin.hset(f"{BASE}day:{TODAY}", "alice fal-ai/x", "4 12 21 3 0 0")
    admin.expire(f"{BASE}day:{TODAY}", 400 * 86_400)
    for key in ("answered", "held"):
        admin.hset(f"{BASE}key:{key}", mapping={"hash": "hash", "owner": "o", "held": NOW + 60, "kept": NOW + 900})
        admin.expire(f"{BASE}key:{key}", 4500)
    admin.hset(f"{BASE}key:answered", "answer", b"answer")


async def test_the_layout_of_0_1_0_is_upgraded(valkey: str, admin: Redis) -> None:
    """Two workers that start at once keep what was spent, reserved, in flight and claimed, and old keys."""
    write_old_layout(admin)
    drawn, holder = charge(buckets=2), slot()
    async with opened(valkey) as ledger, opened(valkey) as other:
        assert await sums(ledger, drawn) == [(12, 21)]
        assert (await ledger.statuses((), (holder,), now=NOW))[0].used == 2
        assert await ledger.claim_key("held", "hash", owner="p", now=NOW, ttl=9, hold=9) is KeyState.BUSY
        assert await ledger.claim_key("answered", "hash", owner="p", now=NOW, ttl=9, hold=9) == StoredAnswer(b"answer")
        assert [record.job for record in await other.take_due(now=NOW + 60, limit=9)] == ["fal-ai/x/job-1"]
        assert await other.settle("fal-ai/x/job-1", amount=6, now=NOW) is True
        assert (await ledger.statuses((), (holder,), now=NOW))[0].used == 1
        assert await ledger.sweep(now=NOW + 100) == 1
        assert await sums(ledger, drawn) == [(12 + 6 + 10, 0)]
        (line,) = await ledger.report(since=TODAY, until=TODAY)

    assert (line.submits, line.used, line.reserved, line.refunded, line.unsettled) == (4, 28, 0, 8, 10)
    assert admin.get(f"{BASE}schema") == b"2"
    assert admin.get(f"{BASE}v1:spent:daily:alice:20") == b"5 21"
    assert 0 < admin.ttl(f"{BASE}v1:ticket:ticket-0") <= 7 * 86_400


async def test_an_upgrade_by_several_workers(valkey: str, admin: Redis) -> None:
    """Workers that upgrade at the same time convert each key once."""
    write_old_layout(admin)

    async def start() -> list[tuple[int, int]]:
        async with opened(valkey) as ledger:
            return await sums(ledger, charge(buckets=2))

    assert await asyncio.gather(*(start() for _ in range(5))) == [[(12, 21)]] * 5

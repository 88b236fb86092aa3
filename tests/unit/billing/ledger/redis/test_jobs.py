"""Tests of jobs, credits, thresholds, blocks and dumps in the Redis ledger."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from redis import Redis
from support.redis_ledger import NOW, TODAY, charge, opened, request, slot, sums

from proxy.billing.ledger.interface import Blocked, Crossing, Granted, LimitExceeded, ReservationRequest
from proxy.billing.ledger.jobs import Credit, EndState, JobState, Row
from proxy.billing.ledger.looks import FIRST_LOOK, PER_SECOND, next_look
from proxy.billing.ledger.redis.ledger import RedisLedger

ALL: frozenset[JobState] = frozenset(("queued", "running", "completed", "failed", "cancelled", "unknown"))


async def submit(ledger: RedisLedger, name: str, call: ReservationRequest | None = None, *, now: float = NOW) -> str:
    """Reserves and accepts a call, and returns its job."""
    assert isinstance(await ledger.reserve(name, call or request(1, charge(10**6)), now=now), Granted)
    await ledger.accept(name, f"fal-ai/x/{name}", key_alias="second", now=now)
    return f"fal-ai/x/{name}"


async def test_a_job_s_record(ledger: RedisLedger) -> None:
    """A record shows the job's state, amount, price and times from its reservation to its end."""
    job = await submit(ledger, "a", request(7))
    queued = await ledger.job(job)
    await ledger.set_running(job, now=NOW + 1)
    running = await ledger.job("a")
    await ledger.settle(job, amount=4, state="failed", now=NOW + 2)
    ended = await ledger.job(job)

    assert queued is not None
    assert (queued.id, queued.job, queued.key_alias, queued.caller) == ("a", job, "second", "alice")
    assert (queued.state, queued.amount, queued.price, queued.created, queued.ended) == ("queued", 7, None, NOW, None)
    assert running == replace(queued, state="running")
    assert ended == replace(queued, state="failed", price=4, ended=NOW + 2)
    assert await ledger.job("fal-ai/x/other") is None


async def test_a_stream_runs_in_its_worker(valkey: str, admin: Redis) -> None:
    """A call without a job runs for as long as its worker has a heartbeat; it is queued after that."""
    async with opened(valkey) as reader:
        async with opened(valkey) as holder:
            await holder.reserve("a", request(7), now=NOW)
            await holder.set_running("a", now=NOW + 1)
            running = [(one.state, one.job) for one in await reader.jobs("alice", states=ALL, limit=10)]
        queued = [(one.state, one.job) for one in await reader.jobs("alice", states=ALL, limit=10)]

    assert (running, queued) == ([("running", None)], [("queued", None)])


async def test_a_refunded_call_leaves_no_record(ledger: RedisLedger) -> None:
    """A call that fal did not accept is in no list."""
    await ledger.reserve("a", request(7), now=NOW)
    await ledger.refund("a", now=NOW)

    assert await ledger.job("a") is None
    assert await ledger.jobs("alice", states=ALL, limit=10) == ()


async def test_jobs_by_page_and_state(ledger: RedisLedger) -> None:
    """A caller's jobs are listed newest first, in pages and by state, without those of others."""
    states: list[EndState] = ["completed", "failed", "cancelled"]
    for n in range(250):
        job = await submit(ledger, f"a{n:03}", now=NOW + n // 2)  # two at a time
        if n % 5 < 3:
            await ledger.settle(job, amount=None, state=states[n % 5], now=NOW + 300)
    await submit(ledger, "b", replace(request(1, charge(10**6)), caller="bob"))

    pages, before = [], None
    while page := await ledger.jobs("alice", states=ALL, limit=60, before=before):
        pages.append(page)
        before = (page[-1].created, page[-1].id)
    failed = await ledger.jobs("alice", states=frozenset(("failed",)), limit=1000)

    assert [record.id for page in pages for record in page] == [f"a{n:03}" for n in reversed(range(250))]
    assert [len(page) for page in pages] == [60, 60, 60, 60, 10]
    assert [record.id for record in failed] == [f"a{n:03}" for n in reversed(range(250)) if n % 5 == 1]


async def test_due_jobs_are_taken_once(ledger: RedisLedger) -> None:
    """A job is due 60 seconds after its reservation, then after half its age, at most ten minutes."""
    job = await submit(ledger, "a")
    await ledger.reserve("no job yet", request(1, charge(10**6)), now=NOW)
    assert await ledger.take_due(now=NOW + FIRST_LOOK - 0.5, limit=5) == ()
    due = NOW + FIRST_LOOK
    for _ in range(8):
        records = await ledger.take_due(now=due, limit=5)
        assert [record.job for record in records] == [job]
        assert await ledger.take_due(now=next_look(NOW, due) - 0.5, limit=5) == ()
        due = next_look(NOW, due)
    await ledger.settle(job, amount=None, now=due)

    assert await ledger.take_due(now=due + 10**6, limit=5) == ()


async def test_two_workers_share_the_due_jobs(valkey: str, admin: Redis) -> None:
    """Each due job is taken by one worker, and all of them take PER_SECOND a second at most."""
    async with opened(valkey) as first, opened(valkey) as second:
        jobs = {await submit(first, f"a{n}") for n in range(30)}
        names: list[str | None] = []
        counts: list[int] = []
        for second_of_day in range(4):
            before = len(names)
            for ledger in (first, second) * 2:
                records = await ledger.take_due(now=NOW + 61 + second_of_day, limit=4)
                names += [record.job for record in records]
            counts.append(len(names) - before)

    assert sorted(filter(None, names)) == sorted(jobs)
    assert counts == [PER_SECOND] * 3 + [0]


async def test_jobs_of_full_slots_come_first(ledger: RedisLedger) -> None:
    """Jobs that hold the slots of a full account are taken before older ones."""
    for n in range(5):
        await submit(ledger, f"old{n}", now=NOW)
    for n in range(2):
        await submit(ledger, f"full{n}", request(1, charge(10**6), slots=(slot(2, lease=3600),)), now=NOW + 1)
    first = await ledger.take_due(now=NOW + 100, limit=3)
    await ledger.settle("fal-ai/x/full0", amount=None, now=NOW + 100)
    later = await ledger.take_due(now=NOW + 1000, limit=2)

    assert {record.id for record in first} > {"full0", "full1"}
    assert "full1" not in {record.id for record in later}


async def test_a_look_before_a_refusal(ledger: RedisLedger) -> None:
    """The oldest jobs that hold a slot are taken at most every five seconds each."""
    holder = slot(5, lease=3600)
    for n in range(5):
        await submit(ledger, f"a{n}", request(1, charge(10**6), slots=(holder,)), now=NOW + n)
    now = NOW + 10
    first = await ledger.take_oldest(holder.account, now=now, limit=3, apart=5.0)
    second = await ledger.take_oldest(holder.account, now=now + 1, limit=3, apart=5.0)
    waits = [await ledger.next_look(holder.account, now=now + passed, apart=5.0) for passed in (1, 4.5, 6)]

    assert [record.id for record in first] == ["a0", "a1", "a2"]
    assert [record.id for record in second] == ["a3", "a4"]
    assert waits == pytest.approx([4.0, 0.5, 0.0])
    assert await ledger.next_look("jobs:nobody", now=now, apart=5.0) == 5.0


async def test_a_slot_before_and_after_acceptance(ledger: RedisLedger) -> None:
    """A slot ends with the call's time-out unless fal accepted it; then it has its whole lease."""
    holder = slot(2, lease=3600)
    call = replace(request(1, charge(10**6), slots=(holder,)), call_seconds=30.0)
    await ledger.reserve("lost", call, now=NOW)
    await submit(ledger, "accepted", call)
    in_flight = [(await ledger.statuses((), (holder,), now=NOW + s))[0].used for s in (29, 31, 3599, 3601)]

    assert in_flight == [2, 1, 1, 0]


async def test_credits_pay_what_the_limit_does_not(ledger: RedisLedger) -> None:
    """A charge beyond the limit draws on credits by their expiry, and gives back what was not spent."""
    await ledger.grant_credit(Credit("late", "daily:alice", 50, 50, NOW + 900), now=NOW)
    await ledger.grant_credit(Credit("soon", "daily:alice", 20, 20, NOW + 800), now=NOW)
    await ledger.grant_credit(Credit("endless", "daily:alice", 5, 5, None), now=NOW)
    await ledger.grant_credit(Credit("expired", "daily:alice", 99, 99, NOW), now=NOW)
    await submit(ledger, "a", request(90))
    await submit(ledger, "b", request(40))  # 10 of the limit, 20 of "soon", 10 of "late"
    (status,) = await ledger.statuses((charge(),), (), now=NOW)
    assert (status.reserved, status.credit) == (100, 45)
    assert isinstance(await ledger.reserve("c", request(46), now=NOW), LimitExceeded)
    await ledger.settle("fal-ai/x/b", amount=15, now=NOW)

    left = {credit.id: credit.left for credit in await ledger.credits("daily:alice", now=NOW)}
    assert left == {"late": 50, "soon": 15, "endless": 5}
    assert await sums(ledger) == [(10, 90)]
    assert await ledger.credits(None, now=NOW) == await ledger.credits("daily:alice", now=NOW)


async def test_thresholds_are_reported_once(ledger: RedisLedger) -> None:
    """Each threshold is reported when it is reached, and 100 % also by the first refusal."""
    drawn = charge(thresholds=(50, 80, 100))

    async def crossed(name: str, amount: int) -> list[int]:
        result = await ledger.reserve(name, request(amount, drawn), now=NOW)
        assert isinstance(result, Granted | LimitExceeded)
        return [crossing.percent for crossing in result.crossed]

    assert [await crossed(f"t{n}", amount) for n, amount in enumerate((49, 1, 35, 1, 20, 20))] == [
        [],
        [50],
        [80],
        [],
        [100],
        [],
    ]
    result = await ledger.reserve("other", request(60, charge(account="b:all", thresholds=(50,))), now=NOW)
    assert result == Granted(crossed=(Crossing("b", "b:all", 50, 100),))


async def test_a_blocked_caller(ledger: RedisLedger) -> None:
    """A blocked caller's calls are refused until the operator admits them again."""
    await ledger.set_blocked("alice", True, now=NOW)
    refused = await ledger.reserve("a", request(), now=NOW)
    await ledger.set_blocked("alice", False, now=NOW)

    assert refused is Blocked.BLOCKED
    assert await ledger.reserve("a", request(), now=NOW) == Granted()


async def test_a_price_is_given_back_once(ledger: RedisLedger) -> None:
    """The refund of an ended job returns its price to bucket and credit, and shows in the day's sums."""
    await ledger.grant_credit(Credit("c", "daily:alice", 10, 10, None), now=NOW)
    job = await submit(ledger, "a", request(105))
    assert await ledger.refund_ended(job, now=NOW) is False
    await ledger.settle(job, amount=None, now=NOW)
    assert [await ledger.refund_ended(job, now=NOW) for _ in range(2)] == [True, False]

    (line,) = await ledger.report(since=TODAY, until=TODAY)
    record = await ledger.job(job)
    assert await sums(ledger) == [(0, 0)]
    assert [credit.left for credit in await ledger.credits(None, now=NOW)] == [10]
    assert (line.used, line.refunded) == (0, 105)
    assert record is not None
    assert record.price == 0


async def test_a_reset_account(ledger: RedisLedger) -> None:
    """A reset forgets what was used, and keeps what is reserved."""
    await submit(ledger, "a", request(30))
    await ledger.settle("fal-ai/x/a", amount=None, now=NOW)
    await ledger.reserve("b", request(20), now=NOW)

    assert await ledger.reset(["daily:alice", "daily:bob"], now=NOW) == 30
    assert await sums(ledger) == [(0, 20)]


async def rows(ledger: RedisLedger) -> list[Row]:
    return sorted([row async for row in ledger.dump()], key=repr)


async def replay(lines: list[Row]) -> AsyncIterator[Row]:
    for line in lines:
        yield line


async def test_a_dump_fills_another_ledger(valkey: str, admin: Redis) -> None:
    """A dump loaded elsewhere gives the same dump, sums, jobs and keys; only an empty ledger takes it."""
    holder = slot(5, lease=3600)
    call = request(10, charge(), charge(ttl=float("inf"), account="life:alice"), slots=(holder,))
    async with opened(valkey) as source, opened(valkey, prefix="o[*]:") as target:
        for n in range(3):
            await submit(source, f"a{n}", call, now=NOW + n)
        await source.settle("fal-ai/x/a0", amount=3, now=NOW + 5)
        await source.grant_credit(Credit("c", "daily:alice", 10, 10, None), now=NOW)
        await source.set_blocked("mallory", True, now=NOW)
        await source.claim_key("k", "hash", owner="o", now=NOW, ttl=10**8, hold=9)
        await source.store_answer("k", b"\x00\xff", owner="o", now=NOW, ttl=10**8)
        lines = await rows(source)
        assert await target.load(replay(lines), now=NOW + 10) == len(lines)

        assert await rows(target) == lines
        assert await sums(target, *call.charges) == [(3, 20), (3, 20)]
        assert await target.jobs("alice", states=ALL, limit=9) == await source.jobs("alice", states=ALL, limit=9)
        assert [record.id for record in await target.take_due(now=NOW + 70, limit=9)] == ["a1", "a2"]
        assert (await target.statuses((), (holder,), now=NOW + 10))[0].used == 2
        assert await target.settle("fal-ai/x/a1", amount=None, now=NOW + 10) is True
        with pytest.raises(ValueError, match="not empty"):
            await target.load(replay(lines), now=NOW)

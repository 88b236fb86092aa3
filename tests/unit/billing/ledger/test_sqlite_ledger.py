"""SQLite's own behaviour; what every ledger must do is in `ledger_suite`.

Run as a program it is a process that is killed, or one that holds the file.
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import sqlite3
import struct
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from support import reopened_ledger
from support.cpu import loop_seconds, untraced
from support.ledger_jobs_suite import (
    NOTE,
    ClaimedReservationSuite,
    CreditSuite,
    ForgetSuite,
    LedgerJobsSuite,
    OperatorSuite,
    ThresholdSuite,
    noted,
    submitted,
)
from support.ledger_suite import (
    DAY,
    HOUR,
    NOW,
    TODAY,
    ClaimSuite,
    EndingSuite,
    LedgerSuite,
    ReportSuite,
    SlotSuite,
    SweepSuite,
    WindowSuite,
    accepted,
    call_request,
    charge,
    claimed,
    in_flight,
    slot,
    sums,
)
from support.reopened_ledger import ReopenedLedger

from proxy.billing.ledger.interface import Call, Granted, KeyState, Ledger, StoredAnswer
from proxy.billing.ledger.jobs import MAX_USAGE_DAYS
from proxy.billing.ledger.memory.state import GRACE
from proxy.billing.ledger.sqlite.commits import MAX_WAITING
from proxy.billing.ledger.sqlite.journal import DROP_BATCH
from proxy.billing.ledger.sqlite_ledger import SqliteLedger
from proxy.errors import StoreAway

# A process of these tests is this file run as a program.
ENVIRON = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}

TIMEOUT = 30.0  # seconds, where a busy machine must not decide the test
TABLES = ("reservation", "bucket", "claim", "day", "job")
LINES = 60_000  # of a report that takes far longer than a step may
MANY_LINES = f"""
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {LINES})
    INSERT INTO day (day, caller, endpoint, submits, used, reserved, refunded, unsettled, overrun)
    SELECT '{TODAY}', printf('%064d', i), 'fal-ai/x', 1, 1, 0, 0, 0, 0 FROM n
"""


@asynccontextmanager
async def opened(path: Path, *, timeout: float = TIMEOUT, worker: str | None = None) -> AsyncIterator[SqliteLedger]:
    async with reopened_ledger.opened(path, now=NOW, timeout=timeout, worker=worker) as ledger:
        yield ledger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


class TestFile(LedgerSuite, LedgerJobsSuite):
    @pytest.fixture
    async def ledger(self, path: Path) -> AsyncIterator[Ledger]:
        async with opened(path) as ledger:
            yield ledger

    @pytest.fixture
    async def empty(self, path: Path) -> AsyncIterator[Ledger]:
        async with opened(path.with_name("empty.db")) as ledger:
            yield ledger


class TestReopenedJobs(ClaimedReservationSuite, CreditSuite, OperatorSuite, ForgetSuite, ThresholdSuite):
    @pytest.fixture
    def ledger(self, path: Path) -> Ledger:
        return ReopenedLedger(path, now=NOW)  # type: ignore[return-value]


class TestReopened(EndingSuite, SlotSuite, SweepSuite, WindowSuite, ReportSuite, ClaimSuite):
    @pytest.fixture
    def ledger(self, path: Path) -> Ledger:
        return ReopenedLedger(path, now=NOW)  # type: ignore[return-value]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program is in the middle of a transaction."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        db.execute("ROLLBACK")
        db.close()


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """No file of this process may grow beyond the size of the ledger's log."""
    log = path.with_name(path.name + "-wal")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def rows(path: Path, statement: str) -> list[tuple[int | str, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(statement).fetchall()


def counts(path: Path) -> dict[str, int | str]:
    return {table: rows(path, f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}


def commits(path: Path) -> int:
    """Returns the number of transactions in the log (SQLite, "WAL-Mode File Format")."""
    log = path.with_name(path.name + "-wal").read_bytes()
    (page,) = struct.unpack_from(">I", log, 8)
    return sum(struct.unpack_from(">I", log, at + 4)[0] > 0 for at in range(32, len(log), 24 + page))


async def test_a_file_keeps_its_contents(path: Path) -> None:
    """A file that was closed and opened again has the same sums, slots, days and jobs."""
    async with opened(path) as ledger:
        await accepted(ledger, "job", call_request(10, charge(), slot()))
        await accepted(ledger, "done", call_request(5, charge()))
        await ledger.settle("done", amount=3, now=NOW)
        report = await ledger.report(since=TODAY, until=TODAY)
    async with opened(path) as ledger:
        assert await sums(ledger, charge()) == [(3, 10)]
        assert await in_flight(ledger, slot()) == [1]
        assert await ledger.report(since=TODAY, until=TODAY) == report
        assert await ledger.settle("job", amount=None, now=NOW) is True


async def test_a_claim_of_an_ended_process_is_unknown_at_once(path: Path) -> None:
    """Only one process uses the file, so a claim that another one left is never answered."""
    async with opened(path) as ledger:
        await claimed(ledger, owner="o")
        assert await claimed(ledger, owner="p") is KeyState.BUSY
    async with opened(path) as ledger:
        assert await claimed(ledger, owner="p") is KeyState.UNKNOWN


async def test_a_stream_runs_in_its_process(path: Path) -> None:
    """A call without a job runs for as long as the process that holds the file; it is queued after that."""
    seen = []
    async with opened(path) as ledger:
        await ledger.reserve("stream", call_request(10, charge()), now=NOW)
        await accepted(ledger, "job", call_request(10, charge()))
        for name in ("stream", "job"):
            await ledger.set_running(name, now=NOW)
        seen.append([await ledger.job("stream"), await ledger.job("job")])
    async with opened(path) as ledger:
        seen.append([await ledger.job("stream"), await ledger.job("job")])

    assert [[one and one.state for one in records] for records in seen] == [["running"] * 2, ["queued", "running"]]


async def test_calls_of_an_ended_process_are_lost(path: Path) -> None:
    """A repeat joins a call that an ended process left without an answer, by its job where there is one."""
    async with opened(path) as ledger:
        await submitted(ledger, "accepted", noted())
        await submitted(ledger, "settled", noted())
        await ledger.settle("app/settled", amount=None, now=NOW)
        await ledger.reserve("sent", noted(), now=NOW)
        await submitted(ledger, "answered", noted())
        ledger.end_note("answered")
        await submitted(ledger, "lost", noted())
        await ledger.mark_lost("lost", NOTE, now=NOW)
    async with opened(path) as ledger:
        joined = [await ledger.reserve(f"repeat{n}", noted(), now=NOW + 1) for n in range(5)]

    calls = {one.id: one for one in joined if isinstance(one, Call)}
    assert {name: (call.job, call.alive) for name, call in calls.items()} == {
        "accepted": ("app/accepted", False),
        "settled": ("app/settled", False),
        "sent": (None, False),
        "lost": ("app/lost", False),
    }
    assert joined[4] == Granted()


async def test_a_thousand_at_once_cost_few_syncs(path: Path) -> None:
    """Steps that come together share a transaction."""
    async with opened(path) as ledger:
        await ledger.ping()
        before = commits(path)
        await asyncio.gather(*(ledger.reserve(f"t{n}", call_request(1, charge(10_000)), now=NOW) for n in range(1000)))

        assert 1 <= commits(path) - before <= 10


async def test_a_question_and_a_refusal_cost_no_sync(path: Path) -> None:
    """Neither does the settlement of a job that is settled already, as at each poll."""
    async with opened(path) as ledger:
        await accepted(ledger, "job", call_request(100, charge(100)))
        await ledger.settle("job", amount=None, now=NOW)
        await ledger.flush()
        before = commits(path)
        for _ in range(5):
            await ledger.statuses((charge(),), (slot(),), now=NOW)
            await ledger.reserve("t", call_request(1, charge(100)), now=NOW)
            await ledger.settle("job", amount=0, now=NOW)
        await ledger.flush()

        assert commits(path) == before


async def test_steps_do_not_grow_with_open_jobs(path: Path) -> None:
    """A reserve, a refusal, the statuses and a sweep take no longer with 6,000 open jobs (CPU time)."""

    async def cost(ledger: Ledger, name: str) -> float:
        start = time.process_time()
        for n in range(25):
            await ledger.reserve(f"{name}{n}", call_request(1, charge(10**6), slot(10**6)), now=NOW)
            await ledger.reserve(f"{name}-{n}", call_request(1, charge(0, name="none"), slot(10**6)), now=NOW)
            await ledger.statuses((charge(),), (slot(),), now=NOW)
            await ledger.refund(f"{name}{n}", now=NOW)
            await ledger.sweep(now=NOW)
        return time.process_time() - start

    async with opened(path) as ledger:
        few = min([await cost(ledger, f"few{n}") for n in range(3)])
        for start in range(0, 6_000, 1000):
            await asyncio.gather(
                *(
                    ledger.reserve(f"t{n}", call_request(1, charge(10**6), slot(10**6)), now=NOW)
                    for n in range(start, start + 1000)
                )
            )
        many = min([await cost(ledger, f"many{n}") for n in range(3)])

        assert many < 2 * few


@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_the_event_loop_goes_on(kind: str, path: Path) -> None:
    """While 2,000 steps are done, few turns of the event loop take the CPU of 160,000 additions (5 ms)."""

    async def work(ledger: Ledger, name: str) -> None:
        request = call_request(1, charge(10**6), charge(10**6, name="all"), slot(10**6))
        for n in range(25):
            await accepted(ledger, f"{name}.{n}", request)
            await ledger.settle(f"{name}.{n}", amount=None, now=NOW)
            await ledger.statuses((charge(),), (slot(),), now=NOW)

    turns = []
    async with opened(path) as file:
        ledger = file if kind == "file" else SqliteLedger(":memory:")
        tasks = asyncio.gather(*(work(ledger, str(n)) for n in range(20)))
        with untraced():
            while not tasks.done():
                start = time.thread_time()
                await asyncio.sleep(0)
                turns.append(time.thread_time() - start)
        await tasks

    longest = 8 * loop_seconds()
    assert sum(turn > longest for turn in turns) <= 20


async def test_a_defect_fails_alone(path: Path) -> None:
    """A request with values that cannot be fails, and those beside it are reserved once."""
    async with opened(path) as ledger:
        answers = await asyncio.gather(
            ledger.reserve("a", call_request(1, charge()), now=NOW),
            ledger.reserve("negative", call_request(-1, charge()), now=NOW),
            ledger.reserve("twice", call_request(1, charge(), charge()), now=NOW),
            ledger.reserve("b", call_request(1, charge()), now=NOW),
            return_exceptions=True,
        )

        assert [type(answer) for answer in answers] == [Granted, ValueError, ValueError, Granted]
        assert await sums(ledger, charge()) == [(0, 2)]
        with pytest.raises(ValueError, match=r"NaN|Out of range"):
            await ledger.reserve("never", call_request(1, charge()), now=float("nan"))


async def test_a_locked_file_fails_what_must_wait(path: Path) -> None:
    """A reservation and a claim fail and are taken back.

    A settlement is kept and written later; the loop goes on.
    """
    async with opened(path) as ledger:
        await accepted(ledger, "job", call_request(10, charge()))
    async with opened(path, timeout=0.2) as ledger:
        with locked(path):
            start = time.perf_counter()
            steps = asyncio.gather(
                ledger.reserve("lost", call_request(20, charge()), now=NOW),
                claimed(ledger, owner="o"),
                ledger.ping(),
                return_exceptions=True,
            )
            assert await ledger.settle("job", amount=4, now=NOW) is True
            turns = 0
            while not steps.done():
                await asyncio.sleep(0.001)
                turns += 1
            took = time.perf_counter() - start
    async with opened(path) as ledger:
        assert {type(answer) for answer in await steps} == {StoreAway}
        assert took < 5
        assert turns > 5
        assert await sums(ledger, charge()) == [(4, 0)]
        assert await claimed(ledger, owner="p") is KeyState.FRESH


async def test_a_file_locked_for_a_while_only_delays(path: Path) -> None:
    """A call that waits is written as soon as the other program is done."""
    async with opened(path) as ledger:
        with locked(path):
            reserved = asyncio.create_task(ledger.reserve("t", call_request(1, charge()), now=NOW))
            await asyncio.sleep(0.3)
            assert not reserved.done()

        assert await reserved == Granted()
    assert rows(path, "SELECT id FROM reservation") == [("t",)]


async def test_a_cancelled_caller_reserves_nothing(path: Path) -> None:
    """A reservation whose caller was cancelled is taken back, whenever that was."""
    chance = random.Random(3)
    async with opened(path) as ledger:
        tasks = []
        for n in range(300):
            tasks.append(asyncio.create_task(ledger.reserve(f"t{n}", call_request(1, charge(10**6)), now=NOW)))
            if n % 3:
                asyncio.get_running_loop().call_later(chance.random() * 0.003, tasks[-1].cancel)
            if n % 10 == 0:
                await asyncio.sleep(0)
        answers = await asyncio.gather(*tasks, return_exceptions=True)

        assert await sums(ledger, charge()) == [(0, answers.count(Granted()))]
        assert answers.count(Granted()) >= 100


def test_a_ledger_goes_on_in_another_event_loop(path: Path) -> None:
    """A test client may end its event loop in the middle of a commit; the next one writes what was left."""

    async def start() -> SqliteLedger:
        ledger = SqliteLedger(str(path), timeout=TIMEOUT)
        await ledger.start(now=NOW)
        await accepted(ledger, "job", call_request(10, charge()))
        return ledger

    async def leave(ledger: SqliteLedger) -> None:
        await ledger.settle("job", amount=4, now=NOW)
        task = asyncio.ensure_future(ledger.flush())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()

    async def finish(ledger: SqliteLedger) -> None:
        await accepted(ledger, "other", call_request(5, charge()))
        assert await sums(ledger, charge()) == [(4, 5)]
        await ledger.aclose()

    ledger = asyncio.run(start())
    asyncio.run(leave(ledger))
    asyncio.run(finish(ledger))
    assert rows(path, "SELECT used, reserved FROM bucket") == [(4, 5)]


async def test_too_many_waiting_calls_are_shed(path: Path) -> None:
    """Beyond MAX_WAITING a call fails at once; those in front are served, and later ones again."""
    async with opened(path) as ledger:
        with locked(path):
            tasks = [
                asyncio.create_task(ledger.reserve(f"t{n}", call_request(1, charge(10**6)), now=NOW))
                for n in range(MAX_WAITING + 50)
            ]
            await asyncio.sleep(0)
            shed = [task for task in tasks if task.done()]
            assert len(shed) == 50
        answers = await asyncio.gather(*tasks, return_exceptions=True)

        assert [type(answer) for answer in answers].count(StoreAway) == 50
        assert answers.count(Granted()) == MAX_WAITING
        assert await ledger.reserve("later", call_request(1, charge(10**6)), now=NOW) == Granted()


async def test_a_full_disk_keeps_settlements(path: Path) -> None:
    """Reservations fail whole, settlements are kept in memory, and are written when there is room."""
    async with opened(path) as ledger:
        for n in range(40):
            await accepted(ledger, f"job{n}", call_request(2, charge(), charge(name="all")))
        with full_disk(path):
            with pytest.raises(StoreAway, match=r"full|disk"):
                await ledger.reserve("t", call_request(10, charge(), charge(name="all")), now=NOW)
            settled = [await ledger.settle(f"job{n}", amount=1, now=NOW) for n in range(40)]
            with pytest.raises(StoreAway):
                await ledger.ping()
            assert "cannot be written" in ledger.notices()[0]
            assert await sums(ledger, charge(), charge(name="all")) == [(40, 0)] * 2
        assert settled == [True] * 40
        await ledger.ping()
        assert ledger.notices() == ()
    async with opened(path) as ledger:
        assert await sums(ledger, charge(), charge(name="all")) == [(40, 0)] * 2
        (line,) = await ledger.report(since=TODAY, until=TODAY)
        assert (line.submits, line.used, line.reserved) == (41, 40, 0)


async def test_old_rows_are_dropped(path: Path) -> None:
    """Buckets go after some grace, keys with their time, jobs after 30 days, days after 400."""

    async def swept(now: float) -> dict[str, int | str]:
        await ledger.sweep(now=now)
        await ledger.flush()
        return counts(path)

    async with opened(path) as ledger:
        for n in range(5):
            await ledger.reserve(f"t{n}", call_request(1, charge(), slot(9), ttl=100.0), now=NOW)
            await claimed(ledger, f"key{n}", owner="o")
        assert counts(path) == {"reservation": 5, "bucket": 1, "claim": 5, "day": 1, "job": 0}

        assert await swept(NOW + 100) == {"reservation": 5, "bucket": 1, "claim": 5, "day": 1, "job": 5}
        await ledger.sweep(now=NOW + HOUR)
        assert await swept(NOW + 600 + GRACE) == {"reservation": 0, "bucket": 1, "claim": 5, "day": 1, "job": 5}
        for hours in range(2, 13):
            await ledger.sweep(now=NOW + hours * HOUR)
        assert (await swept(NOW + DAY / 2 + GRACE - 1))["bucket"] == 1
        assert (await swept(NOW + DAY / 2 + GRACE))["bucket"] == 0
        for hours in range(13, 30 * 24):
            await ledger.sweep(now=NOW + hours * HOUR)
        assert await swept(NOW + 30 * DAY) == {"reservation": 0, "bucket": 0, "claim": 0, "day": 1, "job": 5}
        assert (await swept(NOW + 30 * DAY + 100))["job"] == 0
        for hours in range(30 * 24, (MAX_USAGE_DAYS + 1) * 24):
            await ledger.sweep(now=NOW + hours * HOUR)
        assert set((await swept(NOW + (MAX_USAGE_DAYS + 1) * DAY)).values()) == {0}


async def test_many_old_rows_are_dropped_in_batches(path: Path) -> None:
    """One sweep drops them all, some hundred at a time, so that no step waits long behind it."""
    async with opened(path) as ledger:
        await asyncio.gather(
            *(ledger.claim_key(f"k{n}", "b", owner="o", now=NOW, ttl=60.0, hold=1.0) for n in range(3 * DROP_BATCH + 1))
        )
        await ledger.sweep(now=NOW + 60)
        async with asyncio.timeout(TIMEOUT):
            while counts(path)["claim"]:  # noqa: ASYNC110 the rows are in a file
                await asyncio.sleep(0.01)
        assert ledger.stats().commits >= 4


async def test_a_bucket_stays_as_long_as_a_charge_needs_it(path: Path) -> None:
    """The longest ttl of its charges counts."""
    async with opened(path) as ledger:
        for n, ttl in enumerate((3 * DAY, 1.0)):
            await ledger.reserve(f"t{n}", call_request(1, replace(charge(), ttl=ttl), ttl=500 * DAY), now=NOW)
        for hours in range(2 * 24):
            await ledger.sweep(now=NOW + hours * HOUR)

        assert await sums(ledger, charge()) == [(0, 2)]


async def test_a_sweep_of_many(path: Path) -> None:
    """A thousand overdue reservations end in one step."""
    async with opened(path) as ledger:
        request = call_request(1, charge(1000), ttl=100.0)
        await asyncio.gather(*(ledger.reserve(f"t{n}", request, now=NOW) for n in range(1000)))

        assert await ledger.sweep(now=NOW + 100) == 1000
        assert await sums(ledger, charge()) == [(1000, 0)]
        await ledger.reserve("free", call_request(0, ttl=1.0), now=NOW + 100)
        assert await ledger.sweep(now=NOW + 101) == 1
        assert ledger.stats().unsettled == 1000


async def test_a_job_has_one_reservation(path: Path) -> None:
    """Accepted for a second one, a job stays with the first; the other is spent when its time is over."""
    async with opened(path) as ledger:
        await accepted(ledger, "job", call_request(10, charge()))
        await ledger.reserve("other", call_request(5, charge(), ttl=100.0), now=NOW)
        await ledger.accept("other", "job", now=NOW)

        assert await ledger.settle("job", amount=0, now=NOW) is True
        assert await sums(ledger, charge()) == [(0, 5)]
        assert await ledger.sweep(now=NOW + 100) == 1
        assert await sums(ledger, charge()) == [(5, 0)]


async def test_the_slot_of_a_swept_job(path: Path) -> None:
    """The slot of a swept job is freed when the job's end is seen."""
    async with opened(path) as ledger:
        for job in ("settled", "released"):
            await accepted(ledger, job, call_request(1, charge(), slot(lease=DAY), ttl=100.0))
        await ledger.sweep(now=NOW + 100)
        assert await in_flight(ledger, slot()) == [2]
        assert await ledger.settle("settled", amount=None, now=NOW + 101) is False
        assert await in_flight(ledger, slot()) == [1]
        await ledger.release("released", now=NOW + 101)

        assert await in_flight(ledger, slot()) == [0]


async def test_a_second_process_is_refused_by_name(path: Path) -> None:
    """A second process waits for the lock, is not available meanwhile, and is refused; the first goes on."""
    async with opened(path) as ledger:
        second = SqliteLedger(str(path), lock_seconds=0.5)
        starting = asyncio.create_task(second.start(now=NOW))
        await asyncio.sleep(0.2)
        with pytest.raises(StoreAway, match="another process"):
            await second.ping()
        assert "another process" in second.notices()[0]
        with pytest.raises(ValueError, match=r"ledger\.db is in use by another process"):
            await starting
        await second.aclose()
        await ledger.ping()


async def test_a_second_process_takes_over(path: Path) -> None:
    """A process that waits for the lock starts when the one before it has ended, as in a rolling restart."""
    async with opened(path) as ledger:
        await accepted(ledger, "job", call_request(10, charge()))
        second = SqliteLedger(str(path), lock_seconds=30)
        starting = asyncio.create_task(second.start(now=NOW))
        await asyncio.sleep(0.2)
        assert not starting.done()
    await starting
    assert await sums(second, charge()) == [(0, 10)]
    await second.aclose()


async def test_a_file_that_cannot_be_a_ledger(tmp_path: Path) -> None:
    """An unusable file is refused when the ledger is built, not at the first request."""
    with pytest.raises(ValueError, match="there is no directory"):
        SqliteLedger(str(tmp_path / "missing" / "ledger.db"))


async def test_a_damaged_table_makes_the_ledger_unavailable(path: Path) -> None:
    """A start finds the damage and names the table; no step is taken."""
    async with opened(path) as ledger:
        for n in range(50):
            await accepted(ledger, f"job{n}", call_request(1, charge()))
    with closing(sqlite3.connect(path)) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'bucket'").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * 64)
    async with opened(path) as ledger:
        with pytest.raises(StoreAway, match="bucket"):
            await ledger.ping()
        with pytest.raises(StoreAway, match="bucket"):
            await ledger.reserve("t", call_request(1, charge()), now=NOW)
        assert "bucket" in ledger.notices()[0]


async def test_answers_are_on_the_disk_only(path: Path) -> None:
    """An answered key takes no memory, and its answer is read from the file."""
    async with opened(path) as ledger:
        for n in range(100):
            await claimed(ledger, f"k{n}", owner="o")
            await ledger.store_answer(f"k{n}", b"x" * 1000, owner="o", now=NOW, ttl=DAY)

        assert await claimed(ledger, "k7", owner="p") == StoredAnswer(b"x" * 1000)
        assert counts(path)["claim"] == 100


@pytest.mark.parametrize("seed", range(3))
async def test_a_killed_process_loses_nothing_acknowledged(path: Path, seed: int) -> None:
    """Killed at any moment, the file is whole, its sums agree, and it has all that was acknowledged."""
    await kill_at_random(path, seed)


async def kill_at_random(path: Path, seed: int) -> tuple[int, int]:
    """Checks the file of a killed process. Returns how many reservations and jobs were acknowledged."""
    lines: list[str] = []
    async with process("victim", path) as victim:
        enough = random.Random(seed).randint(20, 400)
        while len(lines) < enough:
            lines.append(await line(victim))
        victim.send_signal(signal.SIGKILL)
        assert victim.stdout is not None
        lines += (await victim.stdout.read()).decode().split("\n")
    words = [one.partition(" ") for one in lines]
    reserved = {call_id for what, _, call_id in words if what == "reserved"}
    accepted_ids = {call_id for what, _, call_id in words if what == "accepted"}

    async with opened(path) as ledger:
        ((used, still_reserved),) = await sums(ledger, charge(10**6))
        days = await ledger.report(since=TODAY, until=TODAY)
    open_ids = {str(one) for (one,) in rows(path, "SELECT id FROM reservation")}
    open_jobs = {str(one) for (one,) in rows(path, "SELECT id FROM reservation WHERE job IS NOT NULL")}
    ended = {str(one) for (one,) in rows(path, "SELECT id FROM job")}
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    assert reserved <= open_ids | ended
    assert accepted_ids <= open_jobs | ended
    assert not open_ids & ended
    # Each costs 1.
    assert (used, still_reserved) == (len(ended), len(open_ids))
    assert [(day.used, day.reserved, day.submits) for day in days] == [(used, still_reserved, used + still_reserved)]
    return len(reserved), len(accepted_ids)


@asynccontextmanager
async def process(role: str, path: Path) -> AsyncIterator[Process]:
    async with AsyncExitStack() as stack:
        started = await asyncio.create_subprocess_exec(
            sys.executable, __file__, role, str(path), stdin=PIPE, stdout=PIPE, env=ENVIRON
        )
        stack.push_async_callback(started.communicate)
        stack.callback(stop, started)
        yield started


def stop(process: Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()


async def line(process: Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().rstrip("\n")


def say(word: str) -> None:
    # One write, which a pipe takes whole or not at all; print makes several.
    os.write(sys.stdout.fileno(), f"{word}\n".encode())


async def victim(path: str) -> None:
    """Writes a line for each acknowledged step, until it is killed."""
    async with opened(Path(path)) as ledger:

        async def caller(name: int) -> None:
            for n in range(10_000):
                call_id = f"{name}.{n}"
                await ledger.reserve(
                    call_id, call_request(1, charge(10**6), charge(10**6, name="all"), slot(10**6)), now=NOW
                )
                say(f"reserved {call_id}")
                await ledger.accept(call_id, f"job {call_id}", now=NOW)
                say(f"accepted {call_id}")
                if n % 3:
                    await ledger.settle(f"job {call_id}", amount=None, now=NOW)

        await asyncio.gather(*map(caller, range(10)))


if __name__ == "__main__":
    _, role, *arguments = sys.argv
    asyncio.run({"victim": victim}[role](*arguments))


async def test_a_long_report_takes_its_time(path: Path) -> None:
    """A report may take many times as long as a step."""
    async with opened(path) as ledger:
        await ledger.ping()
    with closing(sqlite3.connect(path)) as db:
        db.execute(MANY_LINES)
        db.commit()
    async with opened(path, timeout=0.02) as ledger:
        assert len(await ledger.report(since=TODAY, until=TODAY)) == LINES


async def test_a_report_needs_no_lock(path: Path) -> None:
    """A report is made while another program is in the middle of a transaction."""
    async with opened(path, timeout=0.1) as ledger:
        await accepted(ledger, "job", call_request(10, charge()))
        with locked(path):
            lines = await ledger.report(since=TODAY, until=TODAY)

    assert [line.reserved for line in lines] == [10]


def overwrite(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


async def test_a_closed_ledger_makes_no_report(path: Path) -> None:
    """A closed ledger raises StoreAway for a report, as for every step; so does an overwritten file."""
    memory = SqliteLedger(":memory:")
    await memory.aclose()
    async with opened(path) as file:
        await file.ping()
        overwrite(path)
        with pytest.raises(StoreAway):
            await file.report(since=TODAY, until=TODAY)
    for closed in (memory, file):
        with pytest.raises(StoreAway):
            await closed.report(since=TODAY, until=TODAY)

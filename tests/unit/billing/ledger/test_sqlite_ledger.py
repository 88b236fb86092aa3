"""What is SQLite's own; what every ledger must do is in `ledger_suite`.

Run as a program it is one of the processes that share a file, or that are killed.
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
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from support.ledger_suite import (
    DAY,
    NOW,
    TODAY,
    LedgerSuite,
    SharedLedgerSuite,
    accepted,
    charge,
    claimed,
    entry,
    in_flight,
    seat,
    sums,
)

from proxy.billing.ledger.interface import Charge, Claim, Ledger, Reserved
from proxy.billing.ledger.sqlite_ledger import DAYS_KEPT, GRACE, SqliteLedger
from proxy.errors import StoreAway

# A worker of these tests is this file run as a program.
ENVIRON = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}

PATIENT = 5.0  # where a busy machine must not decide the test
TABLES = ("ticket", "hold", "bucket", "seat", "claim", "day")
LINES = 200_000  # of a report that takes far longer than a step may
MANY_LINES = f"""
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {LINES})
    INSERT INTO day (day, caller, endpoint, submits, used, reserved, refunded, unsettled, overrun)
    SELECT '{TODAY}', printf('%064d', i), 'fal-ai/x', 1, 1, 0, 0, 0, 0 FROM n
"""
BOTH = pytest.mark.parametrize("kind", ["memory", "file"])


@asynccontextmanager
async def opened(path: Path | str, *, timeout: float = PATIENT) -> AsyncIterator[SqliteLedger]:
    ledger = SqliteLedger(str(path), timeout=timeout)
    try:
        yield ledger
    finally:
        await ledger.aclose()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


class TestMemory(LedgerSuite):
    @pytest.fixture
    async def ledger(self) -> AsyncIterator[Ledger]:
        async with opened(":memory:") as ledger:
            yield ledger


class TestFile(LedgerSuite, SharedLedgerSuite):
    @pytest.fixture
    async def ledger(self, path: Path) -> AsyncIterator[Ledger]:
        async with opened(path) as ledger:
            yield ledger

    @pytest.fixture
    async def ledgers(self, path: Path) -> AsyncIterator[tuple[Ledger, Ledger]]:
        async with opened(path) as here, opened(path) as there:
            yield here, there


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process is in the middle of a transaction."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        db.execute("ROLLBACK")
        db.close()


def rows(path: Path, statement: str) -> list[tuple[int | str, ...]]:
    db = sqlite3.connect(path)
    found = db.execute(statement).fetchall()
    db.close()
    return found


def counts(path: Path) -> dict[str, int | str]:
    return {table: rows(path, f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}


def commits(path: Path) -> int:
    """How often the log was synced: the frames in it that end a transaction (SQLite, "WAL-Mode File Format")."""
    log = path.with_name(path.name + "-wal").read_bytes()
    (page,) = struct.unpack_from(">I", log, 8)
    return sum(struct.unpack_from(">I", log, at + 4)[0] > 0 for at in range(32, len(log), 24 + page))


async def test_what_was_told_is_kept(path: Path) -> None:
    """A file that was closed, and opened again, knows all of it."""
    async with opened(path) as ledger:
        await accepted(ledger, "job", entry(10, charge(), seat()))
        await accepted(ledger, "done", entry(5, charge()))
        await ledger.settle("done", amount=3, now=NOW)
        await claimed(ledger, owner="o")
        report = await ledger.report(since=TODAY, until=TODAY)
    async with opened(path) as ledger:
        assert await sums(ledger, charge()) == [(3, 10)]
        assert await in_flight(ledger, seat()) == [1]
        assert await ledger.report(since=TODAY, until=TODAY) == report
        assert await claimed(ledger, owner="p") is Claim.BUSY
        assert await ledger.settle("job", amount=None, now=NOW) is True


async def test_a_thousand_at_once_cost_few_syncs(path: Path) -> None:
    """Those that come together share a transaction."""
    async with opened(path) as ledger:
        await ledger.ping()
        before = commits(path)
        await asyncio.gather(*(ledger.reserve(f"t{n}", entry(1, charge(10_000)), now=NOW) for n in range(1000)))

        assert 1 <= commits(path) - before <= 10


async def test_a_question_costs_no_sync(path: Path) -> None:
    """Nor does a refusal, or a job that is settled again at each poll."""
    async with opened(path) as ledger:
        await accepted(ledger, "job", entry(100, charge(100)))
        await ledger.settle("job", amount=None, now=NOW)
        before = commits(path)
        for _ in range(5):
            await ledger.standings((charge(),), (seat(),), now=NOW)
            await ledger.report(since=TODAY, until=TODAY)
            await ledger.reserve("t", entry(1, charge(100)), now=NOW)
            await ledger.settle("job", amount=0, now=NOW)

        assert commits(path) == before


HELD_UP = 0.05  # seconds


@BOTH
async def test_the_loop_goes_on(kind: str, path: Path) -> None:
    """While 2,000 steps are done no turn of the event loop takes more than 5 ms, but for one in a hundred steps.

    By the processor's clock: that nothing waits for the disk in the loop is for `test_another_process_takes_its_time`.
    """

    async def caller(ledger: Ledger, name: str) -> None:
        wanted = entry(1, charge(10**6), charge(10**6, name="all"), seat(10**6))
        for n in range(25):
            await accepted(ledger, f"{name}.{n}", wanted)
            await ledger.settle(f"{name}.{n}", amount=None, now=NOW)
            await ledger.standings((charge(),), (seat(),), now=NOW)

    turns = []
    async with opened(path if kind == "file" else ":memory:") as ledger:
        work = asyncio.gather(*(caller(ledger, str(n)) for n in range(20)))
        while not work.done():
            start = time.thread_time()
            await asyncio.sleep(0)
            turns.append(time.thread_time() - start)
        await work

    assert sum(turn > 0.005 for turn in turns) <= 20


@BOTH
async def test_a_defect_fails_alone(kind: str, path: Path) -> None:
    """Of steps that travel together the one that SQLite refuses is refused, and the others are done once."""
    async with opened(path if kind == "file" else ":memory:") as ledger:
        answers = await asyncio.gather(
            ledger.reserve("a", entry(1, charge()), now=NOW),
            ledger.reserve("negative", entry(-1, charge()), now=NOW),
            ledger.reserve("twice", entry(1, charge(), charge()), now=NOW),
            ledger.reserve("b", entry(1, charge()), now=NOW),
            return_exceptions=True,
        )

        assert [type(answer) for answer in answers] == [Reserved, ValueError, ValueError, Reserved]
        assert await sums(ledger, charge()) == [(0, 2)]
        with pytest.raises(ValueError, match=r"NaN|Out of range"):
            await ledger.reserve("never", entry(1, charge()), now=float("nan"))


async def test_another_process_takes_its_time(path: Path) -> None:
    """A step waits 100 ms for it and no longer, is done whole or not at all, and what its caller took is given back.

    The event loop does not wait.
    """
    async with opened(path) as ledger:
        await accepted(ledger, "job", entry(10, charge()))
    async with opened(path, timeout=0.1) as ledger:
        with locked(path):
            start = time.perf_counter()
            asked = asyncio.gather(
                ledger.reserve("lost", entry(20, charge()), now=NOW),
                claimed(ledger, owner="o"),
                ledger.settle("job", amount=4, now=NOW),
                ledger.ping(),
                return_exceptions=True,
            )
            turns = 0
            while not asked.done():
                await asyncio.sleep(0.001)
                turns += 1
            took = time.perf_counter() - start
    async with opened(path) as ledger:
        assert {type(answer) for answer in await asked} == {StoreAway}
        assert took < 1
        assert turns > 5
        assert (await sums(ledger, charge()))[0] in {(4, 0), (0, 10)}
        assert await claimed(ledger, owner="p") is Claim.FRESH


async def test_a_caller_who_leaves_takes_nothing_along(path: Path) -> None:
    """A reservation that nobody learnt of is given back, whenever its caller left."""
    chance = random.Random(3)
    async with opened(path) as ledger:
        tasks = []
        for n in range(300):
            tasks.append(asyncio.create_task(ledger.reserve(f"t{n}", entry(1, charge(10**6)), now=NOW)))
            if n % 3:
                asyncio.get_running_loop().call_later(chance.random() * 0.003, tasks[-1].cancel)
            if n % 10 == 0:
                await asyncio.sleep(0)
        answers = await asyncio.gather(*tasks, return_exceptions=True)

        assert await sums(ledger, charge()) == [(0, answers.count(Reserved()))]
        assert answers.count(Reserved()) >= 100


async def test_a_full_disk(path: Path) -> None:
    """Steps are refused whole, questions are answered, `ping` says what is wrong; with room again all is well."""
    async with opened(path) as ledger:
        await accepted(ledger, "job", entry(10, charge(), charge(name="all")))
        log = path.with_name(path.name + "-wal")
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size, before[1]))
        try:
            answers = await asyncio.gather(
                ledger.reserve("t", entry(10, charge(), charge(name="all")), now=NOW),
                ledger.settle("job", amount=None, now=NOW),
                return_exceptions=True,
            )
            (beat,) = await asyncio.gather(ledger.ping(), return_exceptions=True)
            asked = await sums(ledger, charge(), charge(name="all"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

        assert {type(one) for one in (*answers, beat)} == {StoreAway}
        assert asked == [(0, 10)] * 2
        await ledger.ping()
        assert await ledger.settle("job", amount=None, now=NOW) is True
        assert await sums(ledger, charge(), charge(name="all")) == [(10, 0)] * 2
        assert ledger.failures == 3


async def test_what_is_old_is_dropped(path: Path) -> None:
    """Sweeps leave nothing behind: buckets go after some grace, days when no report asks for them any more."""
    async with opened(path) as ledger:
        for n in range(5):
            await ledger.reserve(f"t{n}", entry(1, charge(), seat(9), ttl=100.0), now=NOW)
            await claimed(ledger, f"key{n}", owner="o")
        assert counts(path) == {"ticket": 5, "hold": 5, "bucket": 1, "seat": 5, "claim": 5, "day": 1}

        await ledger.sweep(now=NOW + 100)
        assert counts(path) == {"ticket": 0, "hold": 0, "bucket": 1, "seat": 5, "claim": 5, "day": 1}
        await ledger.sweep(now=NOW + DAY / 2 + GRACE - 1, limit=3)
        assert counts(path) == {"ticket": 0, "hold": 0, "bucket": 1, "seat": 2, "claim": 5, "day": 1}
        await ledger.sweep(now=NOW + DAY / 2 + GRACE)
        assert counts(path) == {"ticket": 0, "hold": 0, "bucket": 0, "seat": 0, "claim": 5, "day": 1}
        await ledger.sweep(now=NOW + DAYS_KEPT * DAY)
        assert counts(path) == {"ticket": 0, "hold": 0, "bucket": 0, "seat": 0, "claim": 0, "day": 1}
        await ledger.sweep(now=NOW + (DAYS_KEPT + 1) * DAY)
        assert set(counts(path).values()) == {0}


async def test_what_is_old_may_still_be_needed(path: Path) -> None:
    """A bucket stays as long as any of its charges asked for, a day until nothing of it is open."""
    async with opened(path) as ledger:
        for n, ttl in enumerate((3 * DAY, 1.0)):
            await ledger.reserve(f"t{n}", entry(1, replace(charge(), ttl=ttl), ttl=(DAYS_KEPT + 50) * DAY), now=NOW)
        await ledger.sweep(now=NOW + 2 * DAY)
        assert await sums(ledger, charge()) == [(0, 2)]
        await ledger.sweep(now=NOW + (DAYS_KEPT + 1) * DAY)
        assert [line.reserved for line in await ledger.report(since=TODAY, until=TODAY)] == [2]


async def test_a_sweep_of_many(path: Path) -> None:
    """A thousand reservations at once are no more than a step like others."""
    async with opened(path) as ledger:
        wanted = entry(1, charge(1000), ttl=100.0)
        await asyncio.gather(*(ledger.reserve(f"t{n}", wanted, now=NOW) for n in range(1000)))

        assert await ledger.sweep(now=NOW + 100) == 1000
        assert await sums(ledger, charge()) == [(1000, 0)]


async def test_a_job_has_one_ticket(path: Path) -> None:
    """Named for a second ticket, it stays with the first; the other is spent when its time is up."""
    async with opened(path) as ledger:
        await accepted(ledger, "job", entry(10, charge()))
        await ledger.reserve("other", entry(5, charge(), ttl=100.0), now=NOW)
        await ledger.accept("other", "job", now=NOW)

        assert await ledger.settle("job", amount=0, now=NOW) is True
        assert await sums(ledger, charge()) == [(0, 5)]
        assert await ledger.sweep(now=NOW + 100) == 1
        assert await sums(ledger, charge()) == [(5, 0)]


async def test_the_seat_of_a_swept_job(path: Path) -> None:
    """Goes when the job is seen at its end after all."""
    async with opened(path) as ledger:
        for job in ("settled", "released"):
            await accepted(ledger, job, entry(1, charge(), seat(lease=DAY), ttl=100.0))
        await ledger.sweep(now=NOW + 100)
        assert await in_flight(ledger, seat()) == [2]
        assert await ledger.settle("settled", amount=None, now=NOW + 101) is False
        assert await in_flight(ledger, seat()) == [1]
        await ledger.release("released", now=NOW + 101)

        assert await in_flight(ledger, seat()) == [0]


def test_a_file_that_is_no_good(tmp_path: Path) -> None:
    """Refused when the ledger is made, not at the first request."""
    with pytest.raises(ValueError, match="cannot be opened"):
        SqliteLedger(str(tmp_path / "missing" / "ledger.db"))


ROUNDS, RIVALS, ROOM = 5, 2, 37


def rivalled(n: int) -> Charge:
    return charge(ROOM * 7, name=f"rival{n}")


async def test_rival_processes(path: Path) -> None:
    """Two processes with one file, two hundred callers let loose at once, room for 37: 37 get in, every time."""
    async with opened(path) as ledger, processes("rival", path, RIVALS) as rivals:
        for n in range(ROUNDS):
            for rival in rivals:
                assert await line(rival) == "ready"
            for rival in rivals:
                tell(rival, "now")
            admitted = [int(await line(rival)) for rival in rivals]

            assert sum(admitted) == ROOM, (n, admitted)
            assert await sums(ledger, rivalled(n)) == [(0, ROOM * 7)]


@pytest.mark.parametrize("seed", range(4))
async def test_a_process_that_is_killed(path: Path, seed: int) -> None:
    """At any moment: the file is whole, the books agree with each other, and all that was answered is in them."""
    told: list[str] = []
    async with processes("victim", path, 1) as (victim,):
        enough = random.Random(seed).randint(20, 200)
        while len(told) < enough:
            told.append(await line(victim))
        victim.send_signal(signal.SIGKILL)
        assert victim.stdout is not None
        told += (await victim.stdout.read()).decode().split("\n")
    reserved = {ticket for what, _, ticket in (one.partition(" ") for one in told) if what == "reserved"}
    settled = {ticket for what, _, ticket in (one.partition(" ") for one in told) if what == "settled"}

    async with opened(path) as ledger:
        ((used, held),) = await sums(ledger, charge(10**6))
        lines = await ledger.report(since=TODAY, until=TODAY)
    kept = {str(ticket) for (ticket,) in rows(path, "SELECT id FROM ticket")}
    print(
        "DBG", len(told), len(reserved), len(settled), len(kept), used, held, lines, reserved - settled - kept
    ) if len(reserved - settled - kept) != used - len(settled) else None
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    assert settled.isdisjoint(kept)
    # Each costs 1: what was told to be reserved is still there, or was settled and the kill came before that was told.
    assert len(reserved - settled - kept) == used - len(settled)
    assert held == len(kept)
    assert rows(path, "SELECT count(*) FROM hold") == [(2 * len(kept),)]
    assert [(day.used, day.reserved, day.submits) for day in lines] == [(used, held, used + held)]


@asynccontextmanager
async def processes(role: str, path: Path, count: int) -> AsyncIterator[list[Process]]:
    async with AsyncExitStack() as stack:
        started = []
        for n in range(count):
            process = await asyncio.create_subprocess_exec(
                sys.executable, __file__, role, str(path), str(n), stdin=PIPE, stdout=PIPE, env=ENVIRON
            )
            stack.push_async_callback(process.communicate)
            stack.callback(stop, process)
            started.append(process)
        yield started


def stop(process: Process) -> None:
    if process.returncode is None:
        process.kill()


def tell(process: Process, word: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{word}\n".encode())


async def line(process: Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().rstrip("\n")


def say(word: str) -> None:
    # One write, which a pipe takes whole or not at all; print makes several.
    os.write(sys.stdout.fileno(), f"{word}\n".encode())


async def rival(path: str, name: str) -> None:
    """A hundred callers a round: a line on stdin lets them loose, one on stdout says how many got in."""
    async with opened(path) as ledger:
        for n in range(ROUNDS):
            say("ready")
            await asyncio.to_thread(sys.stdin.readline)
            answers = await asyncio.gather(
                *(ledger.reserve(f"{name}.{n}.{i}", entry(7, rivalled(n), seat(10**6)), now=NOW) for i in range(100))
            )
            say(str(answers.count(Reserved())))


async def victim(path: str, _: str) -> None:
    """Says a line for whatever was answered, until it is killed."""
    async with opened(path) as ledger:

        async def caller(name: int) -> None:
            for n in range(10_000):
                ticket = f"{name}.{n}"
                await ledger.reserve(ticket, entry(1, charge(10**6), charge(10**6, name="all"), seat(10**6)), now=NOW)
                say(f"reserved {ticket}")
                await ledger.accept(ticket, f"job {ticket}", now=NOW)
                if n % 3:
                    await ledger.settle(f"job {ticket}", amount=None, now=NOW)
                    say(f"settled {ticket}")

        await asyncio.gather(*map(caller, range(10)))


if __name__ == "__main__":
    _, role, *arguments = sys.argv
    asyncio.run({"rival": rival, "victim": victim}[role](*arguments))


async def test_a_long_report_takes_its_time(path: Path) -> None:
    """Many times as long as a step may take."""
    async with opened(path) as ledger:
        await ledger.ping()
    with closing(sqlite3.connect(path)) as db:
        db.execute(MANY_LINES)
        db.commit()
    async with opened(path, timeout=0.1) as ledger:
        assert len(await ledger.report(since=TODAY, until=TODAY)) == LINES


async def test_a_report_waits_for_nobody(path: Path) -> None:
    """Nor can anybody wait for it: it takes no lock that another's transaction would have to share."""
    async with opened(path, timeout=0.1) as ledger:
        await accepted(ledger, "job", entry(10, charge()))
        with locked(path):
            lines = await ledger.report(since=TODAY, until=TODAY)

    assert [line.reserved for line in lines] == [10]


async def test_a_report_of_a_closed_ledger_or_a_broken_file(path: Path) -> None:
    """StoreAway, as from everything else."""
    async with opened(":memory:") as memory, opened(path) as file:
        pass
    with path.open("wb") as ledger:
        ledger.write(b"no database" * 1000)
    for closed in (memory, file):
        with pytest.raises(StoreAway):
            await closed.report(since=TODAY, until=TODAY)

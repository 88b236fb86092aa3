from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import pytest

from proxy.errors import StoreAway
from proxy.storage.group_commit import FEW, MOST, GroupCommit, Outcome, Step

PATIENT = 5.0  # where a busy machine must not decide the test
BOTH = pytest.mark.parametrize("here", [False, True], ids=["thread", "here"])


class Disk:
    """Says of each step what its first row is; keeps the groups it was given. `stuck` makes it wait as a disk would."""

    def __init__(self) -> None:
        self.groups: list[list[Step]] = []
        self.threads: set[int] = set()
        self.failure: sqlite3.Error | None = None
        self.closed = False
        self._free = threading.Event()
        self._free.set()

    def perform(self, steps: Sequence[Step]) -> list[Outcome]:
        self._free.wait()
        self.groups.append(list(steps))
        self.threads.add(threading.get_ident())
        if self.failure is not None:
            raise self.failure
        return [ValueError("no") if step and step[0] == "wrong" else "".join(step[:1]) for step in steps]

    def close(self) -> None:
        self.closed = True

    @contextmanager
    def stuck(self) -> Iterator[None]:
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    @property
    def done(self) -> list[str]:
        return [row for group in self.groups for step in group for row in step]


@asynccontextmanager
async def opened(disk: Disk, *, timeout: float = PATIENT, here: bool = False) -> AsyncIterator[GroupCommit]:
    group = GroupCommit(disk.perform, disk.close, timeout=timeout, here=here)
    try:
        yield group
    finally:
        await group.aclose()


async def until(condition: str, disk: Disk) -> None:
    """*condition* has been done."""
    async with asyncio.timeout(PATIENT):
        while condition not in disk.done:  # noqa: ASYNC110 - another thread's work
            await asyncio.sleep(0.001)


@BOTH
async def test_each_gets_its_own_answer(here: bool) -> None:
    """In order of arrival, a thousand at once in few groups, none larger than what is done in time."""
    disk = Disk()
    async with opened(disk, here=here) as group:
        answers = await asyncio.gather(*(group.run([str(n)]) for n in range(1000)))

    assert answers == [str(n) for n in range(1000)]
    assert disk.done == answers
    assert max(map(len, disk.groups)) == (FEW if here else MOST)
    assert disk.closed


@BOTH
async def test_only_one_thread_comes_near_the_disk(here: bool) -> None:
    """The event loop's where no disk holds it up, else never that one."""
    disk = Disk()
    async with opened(disk, here=here) as group:
        await asyncio.gather(*(group.run([str(n)]) for n in range(500)))

    assert len(disk.threads) == 1
    assert (threading.get_ident() in disk.threads) is here


async def test_those_who_come_meanwhile_go_together() -> None:
    """While the disk is at work they wait, however many, and then share the next group."""
    disk = Disk()
    async with opened(disk) as group:
        with disk.stuck():
            first = asyncio.create_task(group.run(["first"]))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            others = [asyncio.create_task(group.run([str(n)])) for n in range(50)]
            await asyncio.sleep(0)
        await asyncio.gather(first, *others)

    assert [len(done) for done in disk.groups[:2]] == [1, 50]


@BOTH
async def test_what_is_wrong_fails_alone(here: bool) -> None:
    """Its caller gets a ValueError, the others of its group their answers."""
    async with opened(Disk(), here=here) as group:
        answers = await asyncio.gather(
            group.run(["a"]), group.run(["wrong"], undo=["never"]), group.run(["b"]), return_exceptions=True
        )
        disk_is_well = await group.run(["c"])

    assert answers[0] == "a"
    assert isinstance(answers[1], ValueError)
    assert (answers[2], disk_is_well) == ("b", "c")


async def test_a_refused_step_is_not_undone() -> None:
    """Where the store refused the values there is nothing to take back, and undoing could hit another's."""
    disk = Disk()
    async with opened(disk) as group:
        with pytest.raises(ValueError, match="no"):
            await group.run(["wrong"], undo=["undo"])
        await group.run(["after"])

    assert disk.done == ["wrong", "after"]


@BOTH
async def test_a_disk_that_fails(here: bool) -> None:
    """All of the group are told StoreAway; what may have been done all the same is taken back."""
    disk = Disk()
    async with opened(disk, here=here) as group:
        disk.failure = sqlite3.OperationalError("database or disk is full")
        for step, undo in (("take", ["give"]), ("tell", None)):
            with pytest.raises(StoreAway, match="ledger: OperationalError: database or disk is full"):
                await group.run([step], undo=undo)
        disk.failure = None

        assert await group.run(["after"]) == "after"
        assert group.failures == 2
    assert disk.done == ["take", "give", "tell", "after"]


async def test_a_disk_that_hangs() -> None:
    """Callers are refused in their time, and what they took is given back when it returns; the rest is done late."""
    disk = Disk()
    async with opened(disk, timeout=0.05) as group:
        with disk.stuck():
            start = time.perf_counter()
            answers = await asyncio.gather(
                group.run(["take"], undo=["give"]), group.run(["tell"]), return_exceptions=True
            )
            took = time.perf_counter() - start
        await until("give", disk)

    assert [type(answer) for answer in answers] == [StoreAway, StoreAway]
    assert disk.done == ["take", "tell", "give"]
    assert 0.05 <= took < 1


async def test_a_loop_that_is_late() -> None:
    """What the disk did in time counts, though the loop comes to see it only when the time is over."""
    async with opened(Disk(), timeout=0.05) as group:
        answer = asyncio.create_task(group.run(["take"], undo=["give"]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        time.sleep(0.2)  # noqa: ASYNC251 - the loop is held up on purpose

        assert await answer == "take"


@pytest.mark.parametrize("departed", [False, True], ids=["waiting", "under-way"])
async def test_a_caller_who_leaves(departed: bool) -> None:
    """Whether its step has begun or not, what it took is given back after it; a step that tells is done."""
    disk = Disk()
    async with opened(disk) as group:
        with disk.stuck():
            if not departed:
                before = asyncio.create_task(group.run(["before"]))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            leaving = [
                asyncio.create_task(group.run(["take"], undo=["give"])),
                asyncio.create_task(group.run(["tell"])),
            ]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            for task in leaving:
                task.cancel()
            assert [type(gone) for gone in await asyncio.gather(*leaving, return_exceptions=True)] == [
                asyncio.CancelledError
            ] * 2
        await until("give", disk)
        if not departed:
            await before

    assert [row for row in disk.done if row != "before"] == ["take", "tell", "give"]


async def test_a_caller_who_leaves_at_the_last_moment() -> None:
    """Cancelled when the answer is there but not yet seen: it has not got what it took, so that is given back."""
    disk, loop = Disk(), asyncio.get_running_loop()

    def perform(steps: Sequence[Step]) -> list[Outcome]:
        if not disk.groups:
            # Two turns on: the answer is told in one, seen in two.
            loop.call_soon(lambda: loop.call_soon(leaving.cancel))
        return disk.perform(steps)

    group = GroupCommit(perform, disk.close, timeout=PATIENT, here=True)
    leaving = asyncio.create_task(group.run(["take"], undo=["give"]))
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await group.aclose()

    assert disk.done == ["take", "give"]


async def test_a_disk_that_keeps_failing_is_left_alone() -> None:
    """After twenty failures steps fail at once; a probe is made all the same, and a good one ends it."""
    disk = Disk()
    async with opened(disk) as group:
        disk.failure = sqlite3.OperationalError("disk I/O error")
        for n in range(20):
            with pytest.raises(StoreAway, match="disk I/O error"):
                await group.run([str(n)])
        with pytest.raises(StoreAway, match="the breaker is open"):
            await group.run(["asked"])
        with pytest.raises(StoreAway, match="disk I/O error"):
            await group.run(["probe"], probe=True)
        disk.failure = None

        assert await group.run(["probe"], probe=True) == "probe"
        assert await group.run(["asked"]) == "asked"
        assert group.failures == 22
    assert disk.done.count("asked") == 1


@BOTH
async def test_closing(here: bool) -> None:
    """What waits is done first; afterwards everything is StoreAway, and closing again does nothing."""
    disk = Disk()
    group = GroupCommit(disk.perform, disk.close, timeout=PATIENT, here=here)
    waiting = [asyncio.create_task(group.run([str(n)])) for n in range(300)]
    await asyncio.sleep(0)
    await group.aclose()
    await group.aclose()

    assert await asyncio.gather(*waiting) == [str(n) for n in range(300)]
    assert disk.closed
    for probe in (False, True):
        with pytest.raises(StoreAway, match="closed"):
            await group.run(["late"], probe=probe)


async def test_closing_beside_a_disk_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited for longer than is set."""
    monkeypatch.setattr("proxy.storage.group_commit.CLOSING", 0.05)
    disk = Disk()
    group = GroupCommit(disk.perform, disk.close, timeout=0.05)
    with disk.stuck():
        with pytest.raises(StoreAway):
            await group.run(["step"])
        async with asyncio.timeout(PATIENT):
            await group.aclose()
        assert not disk.closed


def test_a_loop_that_ends_first() -> None:
    """The thread outlives a loop that nobody closed the ledger in: it finds no one to tell, and waits on."""
    disk = Disk()

    async def leave(group: GroupCommit) -> None:
        task = asyncio.create_task(group.run(["step"]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()

    group = GroupCommit(disk.perform, disk.close, timeout=0.05)
    with disk.stuck():
        asyncio.run(leave(group))
    asyncio.run(until("step", disk))
    asyncio.run(group.aclose())

    assert disk.done == ["step"]


async def test_a_loop_that_never_rests() -> None:
    """The thread is not starved: with the loop busy and looking for events all the time its steps are done in time."""
    stop = False

    async def hog() -> None:
        while not stop:
            end = time.perf_counter() + 0.0005
            while time.perf_counter() < end:
                pass
            await asyncio.sleep(0)

    async with opened(Disk()) as group:
        busy = asyncio.create_task(hog())
        start = time.perf_counter()
        for n in range(50):
            await group.run([str(n)])
        took = time.perf_counter() - start
        stop = True
        await busy

    assert took < 2.5

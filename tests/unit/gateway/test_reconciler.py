from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import orjson
import pytest
from support.ledger_suite import DAY, NOW, call_request, charge, in_flight, slot, sums
from support.scripted_upstream import until

from proxy.billing.ledger.sqlite_ledger import SqliteLedger
from proxy.errors import ConnectFailed, TransportError
from proxy.gateway.reconciler import AT_ONCE, INTERVAL, LOOK_APART, MAX_LOOKS, RETENTION, Reconciler
from proxy.http.client.messages import UpstreamResponse
from proxy.upstream.job_end import JobEnd

ACCOUNT = slot().account


def answer(code: int, **body: object) -> UpstreamResponse:
    return UpstreamResponse(code, (), orjson.dumps(body))


COMPLETED = answer(200, status="COMPLETED")
QUEUED = answer(202, status="IN_QUEUE")
RUNNING = answer(202, status="IN_PROGRESS")
UNKNOWN = answer(404, detail="Not found")


@dataclass
class Jobs:
    """fal as the reconciler sees it: an answer or an error for each job, RUNNING by default."""

    answers: dict[str, UpstreamResponse | TransportError] = field(default_factory=dict)
    units_by_job: dict[str, float] = field(default_factory=dict)
    away: bool = False
    asked: list[str] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    refused: frozenset[str] = frozenset()
    active: int = 0
    most_active: int = 0
    blocker: asyncio.Event | None = None

    async def status(self, app: str, upstream_id: str, key_alias: str) -> UpstreamResponse:
        self.asked.append(upstream_id)
        self.aliases.append(key_alias)
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        try:
            if self.blocker is not None:
                await self.blocker.wait()
        finally:
            self.active -= 1
        result = self.answers.get(upstream_id, RUNNING)
        if isinstance(result, TransportError):
            raise result
        return result

    async def units(self, app: str, upstream_id: str, key_alias: str) -> float | None:
        self.aliases.append(key_alias)
        return self.units_by_job.get(upstream_id)

    def is_away(self) -> bool:
        return self.away

    def is_refused(self, key_alias: str) -> bool:
        return key_alias in self.refused


class Setup:
    def __init__(self, *, reads_units: bool = False) -> None:
        self.now = NOW
        self.ledger = SqliteLedger()
        self.jobs = Jobs()
        self.ends: dict[str, JobEnd] = {}
        self.reconciler = Reconciler(
            self.ledger, self.jobs, self.settle, reads_units=reads_units, clock=lambda: self.now
        )

    async def settle(self, job: str, end: JobEnd) -> None:
        self.ends[job] = end
        await self.ledger.settle(job, amount=0 if end.failed else None, now=self.now)

    async def submit(self, *names: str, limit: int = 100, key_alias: str = "") -> None:
        for name in names:
            await self.ledger.reserve(name, call_request(1, charge(10**6), slot(limit, lease=DAY)), now=self.now)
            await self.ledger.accept(name, f"fal-ai/app/{name}", key_alias=key_alias, now=self.now)

    async def run_until(self, condition: Callable[[], bool]) -> None:
        """Runs the background task until *condition* holds."""
        task = asyncio.create_task(self.reconciler.run())
        try:
            await until(condition, 20.0)
        finally:
            task.cancel()


async def test_finished_jobs_that_no_caller_reads_are_settled() -> None:
    """After a minute each status is read once: completed jobs are spent, failed ones refunded."""
    setup = Setup()
    await setup.submit("done", "failed", "running")
    assert (setup.ledger.count_due(NOW + 59), setup.ledger.count_due(NOW + 60)) == (0, 3)
    setup.jobs.answers = {"done": COMPLETED, "failed": answer(200, status="COMPLETED", error="boom")}
    setup.now += 61
    await setup.run_until(lambda: len(setup.jobs.asked) >= 3 and len(setup.ends) == 2)

    assert sorted(setup.jobs.asked) == ["done", "failed", "running"]
    assert setup.ends == {"fal-ai/app/done": JobEnd(), "fal-ai/app/failed": JobEnd(failed=True)}
    assert await in_flight(setup.ledger, slot(), now=setup.now) == [1]
    assert await sums(setup.ledger, charge(), now=setup.now) == [(1, 1)]
    job = await setup.ledger.job("fal-ai/app/running")
    assert job is not None
    assert job.state == "running"
    assert (setup.reconciler.counts.settled, setup.reconciler.counts.calls) == (2, 3)


async def test_billable_units_are_read_from_the_result() -> None:
    """A completed job is ended by its units where they settle it."""
    setup = Setup(reads_units=True)
    await setup.submit("done")
    setup.jobs.answers, setup.jobs.units_by_job = {"done": COMPLETED}, {"done": 2.5}
    setup.now += 61
    await setup.run_until(lambda: bool(setup.ends))

    assert setup.ends == {"fal-ai/app/done": JobEnd(units=2.5)}


async def test_a_job_that_fal_forgot_has_ended() -> None:
    """A 404 after a good look, or for a job past retention, is an unknown outcome and frees the slot."""
    setup = Setup()
    await setup.submit("seen", "old")
    setup.now += 61
    await setup.run_until(lambda: len(setup.jobs.asked) == 2)
    await setup.submit("young")
    setup.jobs.answers = {"seen": UNKNOWN, "young": UNKNOWN}
    setup.now += 61
    await setup.run_until(lambda: setup.reconciler.counts.settled == 1 and "young" in setup.jobs.asked)
    assert await in_flight(setup.ledger, slot(), now=setup.now) == [2]

    setup.jobs.answers["young"] = UNKNOWN
    setup.now += RETENTION
    await setup.run_until(lambda: setup.reconciler.counts.settled == 2)
    states = {}
    for name in ("seen", "young", "old"):
        job = await setup.ledger.job(f"fal-ai/app/{name}")
        assert job is not None
        states[name] = (job.state, job.price)
    assert states == {"seen": ("unknown", 1), "young": ("unknown", 1), "old": ("running", None)}


async def test_an_unusable_answer_changes_nothing() -> None:
    """A failure of fal, a broken exchange and an answer that is not JSON are counted, and the job stays."""
    setup = Setup()
    await setup.submit("broken", "failing", "garbled")
    setup.jobs.answers = {
        "broken": ConnectFailed("refused"),
        "failing": answer(500),
        "garbled": UpstreamResponse(200, (), b"<html>"),
    }
    setup.now += 61
    await setup.run_until(lambda: setup.reconciler.counts.errors == 3)

    assert await in_flight(setup.ledger, slot(), now=setup.now) == [3]
    assert setup.ends == {}


async def test_no_more_than_so_many_calls_at_once() -> None:
    """While fal is slow, due jobs wait for their turn."""
    setup = Setup()
    await setup.submit(*(f"job{n}" for n in range(20)))
    setup.jobs.blocker = asyncio.Event()
    setup.now += 61
    await setup.run_until(lambda: setup.jobs.active == AT_ONCE)
    task = asyncio.create_task(setup.reconciler.run())
    await asyncio.sleep(3 * INTERVAL)
    task.cancel()
    assert setup.jobs.most_active == AT_ONCE
    setup.jobs.blocker.set()
    await setup.run_until(lambda: len(setup.jobs.asked) == 20)


async def test_nothing_is_asked_while_fal_is_away() -> None:
    """Neither in the background nor before a refusal."""
    setup = Setup()
    await setup.submit("job")
    setup.jobs.away = True
    setup.now += 61
    task = asyncio.create_task(setup.reconciler.run())
    await asyncio.sleep(3 * INTERVAL)
    task.cancel()

    assert await setup.reconciler.look_at_oldest(ACCOUNT) is False
    assert setup.jobs.asked == []


async def test_a_look_before_a_refusal() -> None:
    """The status of the three oldest jobs is read at once; one that has ended makes room."""
    setup = Setup()
    await setup.submit("a", "b", "c", "d", limit=4)
    setup.jobs.answers = {"b": COMPLETED}

    assert await setup.reconciler.look_at_oldest(ACCOUNT) is True
    assert sorted(setup.jobs.asked) == ["a", "b", "c"]
    assert await in_flight(setup.ledger, slot(), now=setup.now) == [3]


async def test_looks_before_refusals_are_apart() -> None:
    """A status is read at most every five seconds, and Retry-After is the time until then."""
    setup = Setup()
    await setup.submit("a", "b")
    assert [await setup.reconciler.look_at_oldest(ACCOUNT) for _ in range(3)] == [False] * 3
    setup.now += 2

    assert len(setup.jobs.asked) == 2
    assert await setup.reconciler.next_look(ACCOUNT) == LOOK_APART - 2
    setup.now += 3
    await setup.reconciler.look_at_oldest(ACCOUNT)
    assert len(setup.jobs.asked) == 4


async def test_a_slow_answer_does_not_hold_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal waits for its time only; the job is settled when the answer comes."""
    monkeypatch.setattr("proxy.gateway.reconciler.LOOK_SECONDS", 0.05)
    setup = Setup()
    await setup.submit("slow")
    setup.jobs.blocker, setup.jobs.answers = asyncio.Event(), {"slow": COMPLETED}
    assert await setup.reconciler.look_at_oldest(ACCOUNT) is False
    setup.jobs.blocker.set()
    await until(lambda: bool(setup.ends))
    assert await in_flight(setup.ledger, slot(), now=setup.now) == [0]


async def test_so_many_looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond that a refusal is sent without a look."""
    monkeypatch.setattr("proxy.gateway.reconciler.LOOK_SECONDS", 10.0)
    setup = Setup()
    for n in range(MAX_LOOKS + 4):
        request = replace(call_request(1, slot(1)), slots=(replace(slot(1), account=f"jobs:{n}"),))
        await setup.ledger.reserve(f"job{n}", request, now=setup.now)
        await setup.ledger.accept(f"job{n}", f"fal-ai/app/job{n}", now=setup.now)
    setup.jobs.blocker = asyncio.Event()
    looks = [asyncio.create_task(setup.reconciler.look_at_oldest(f"jobs:{n}")) for n in range(MAX_LOOKS + 4)]
    await until(lambda: len(setup.jobs.asked) >= MAX_LOOKS)
    assert sum(look.done() for look in looks) == 4
    setup.jobs.blocker.set()
    await asyncio.gather(*looks)
    assert len(setup.jobs.asked) == MAX_LOOKS


async def test_closing_cancels_looks() -> None:
    """No request of the reconciler outlives the gateway."""
    setup = Setup()
    await setup.submit("slow")
    setup.jobs.blocker = asyncio.Event()
    setup.now += 61
    await setup.run_until(lambda: setup.jobs.active == 1)
    await setup.reconciler.aclose()

    assert setup.jobs.active == 0


async def test_each_job_is_read_with_its_own_key() -> None:
    """Status and units by the key that it was submitted with; one that fal refuses is not used."""
    setup = Setup(reads_units=True)
    await setup.submit("default")
    await setup.submit("spare", key_alias="spare")
    await setup.submit("locked", key_alias="locked")
    setup.jobs.refused = frozenset({"locked"})
    setup.jobs.answers = dict.fromkeys(("default", "spare", "locked"), COMPLETED)
    setup.now += 61
    await setup.run_until(lambda: len(setup.ends) == 2)

    assert sorted(setup.jobs.aliases) == ["", "", "spare", "spare"]
    assert setup.ends.keys() == {"fal-ai/app/default", "fal-ai/app/spare"}

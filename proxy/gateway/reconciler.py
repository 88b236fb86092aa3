"""Reconciler: requests the status of jobs that no caller reads, and settles those that have ended."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import orjson

from proxy.billing.ledger.interface import Ledger
from proxy.billing.ledger.jobs import JobRecord
from proxy.errors import StoreAway, TransportError
from proxy.http.client.messages import UpstreamResponse
from proxy.upstream.job_end import JobEnd, completed_end

INTERVAL = 0.4  # seconds between two takes of due jobs
CALLS_PER_INTERVAL = 4  # 10 a second
AT_ONCE = 4  # status requests of the reconciler under way
RETENTION = 4_200.0  # seconds after which a job that fal does not know has ended: fal keeps a result for an hour
LOOK_APART = 5.0  # seconds between two looks at one job before refusals
LOOK_SECONDS = 2.0  # that a refusal waits for its looks
OLDEST = 3  # jobs looked at before one refusal
MAX_LOOKS = 16  # refusals of one process that look at the same time
_REMEMBERED = 10_000  # jobs that fal knew at their last look

Settle = Callable[[str, JobEnd], Awaitable[None]]


class JobStatus(Protocol):
    """Reads of a job by the gateway itself, past breakers and account."""

    async def status(self, app: str, upstream_id: str, key_alias: str) -> UpstreamResponse:
        """Reads with the job's own key. Raises TransportError."""

    async def units(self, app: str, upstream_id: str, key_alias: str) -> float | None:
        """Returns the billable units of a job's result, None where fal gives none. Raises TransportError."""

    def is_refused(self, key_alias: str) -> bool:
        """Returns True while fal refuses a key."""

    def is_away(self) -> bool:
        """Returns True while fal is down, or refuses every key."""


class Look(Enum):
    """Outcome of one look at a job."""

    ENDED = "ended"
    OPEN = "open"
    FAILED = "failed"


@dataclass(slots=True)
class ReconcilerCounts:
    """Counters of one process. *lag*: seconds that the last first look came late."""

    calls: int = 0
    errors: int = 0
    settled: int = 0
    lag: float = 0.0


class Reconciler:
    """Looks at due jobs in the background, and at the oldest jobs of a full limit before it refuses.

    *settle* ends a job in all ledgers. *reads_units*: results are read for the billable units that settle a job.
    """

    def __init__(
        self,
        ledger: Ledger,
        jobs: JobStatus,
        settle: Settle,
        *,
        reads_units: bool,
        clock: Callable[[], float],
        first_look: float = 60.0,
    ) -> None:
        self._ledger = ledger
        self._jobs = jobs
        self._settle = settle
        self._reads_units = reads_units
        self._clock = clock
        self._first_look = first_look
        self._known: OrderedDict[str, None] = OrderedDict()
        self._calls = asyncio.Semaphore(AT_ONCE)
        self._looks = 0
        self._tasks: set[asyncio.Task[Look]] = set()
        self.counts = ReconcilerCounts()

    async def run(self) -> None:
        """Takes due jobs until it is cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            if self._jobs.is_away() or len(self._tasks) >= AT_ONCE:
                continue
            self._tasks.update(self._start(self._look_in_turn(record)) for record in await self._due())

    async def aclose(self) -> None:
        """Cancels the looks under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def look_at_oldest(self, account: str) -> bool:
        """Looks at the oldest jobs that hold a slot of *account*. True where one of them has ended.

        It takes LOOK_SECONDS at most; what is not answered by then is settled later.
        """
        if self._looks >= MAX_LOOKS or self._jobs.is_away():
            return False
        self._looks += 1
        try:
            records = await self._ledger.take_oldest(account, now=self._clock(), limit=OLDEST, apart=LOOK_APART)
            if not records:
                return False
            done, _ = await asyncio.wait([self._start(self._look(one)) for one in records], timeout=LOOK_SECONDS)
        finally:
            self._looks -= 1
        return any(task.result() is Look.ENDED for task in done)

    async def next_look(self, account: str) -> float:
        """Returns the seconds until `look_at_oldest` may look at a job of *account*, at least 1."""
        return max(1.0, await self._ledger.next_look(account, now=self._clock(), apart=LOOK_APART))

    async def _due(self) -> tuple[JobRecord, ...]:
        now = self._clock()
        try:
            records = await self._ledger.take_due(now=now, limit=CALLS_PER_INTERVAL)
        except StoreAway:
            return ()
        first = [now - record.created for record in records if record.id not in self._known]
        if first:
            self.counts.lag = max(0.0, max(first) - self._first_look)
        return records

    def _start(self, look: Coroutine[None, None, Look]) -> asyncio.Task[Look]:
        task = asyncio.create_task(look)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _look_in_turn(self, record: JobRecord) -> Look:
        async with self._calls:
            return await self._look(record)

    async def _look(self, record: JobRecord) -> Look:
        """Asks fal for the job's status, and settles a job that has ended. Never raises."""
        if self._jobs.is_refused(record.key_alias):
            return Look.FAILED
        app, _, upstream_id = (record.job or "").rpartition("/")
        self.counts.calls += 1
        try:
            response = await self._jobs.status(app, upstream_id, record.key_alias)
            return await self._conclude(record, response)
        except (TransportError, StoreAway, ValueError):
            self.counts.errors += 1
            return Look.FAILED

    async def _conclude(self, record: JobRecord, response: UpstreamResponse) -> Look:
        """Raises TransportError, StoreAway, and ValueError for an answer that is not JSON."""
        job = record.job or ""
        match response.status:
            case 200:
                body = orjson.loads(response.body)
                if not isinstance(body, dict) or body.get("status") != "COMPLETED":
                    return await self._note_open(record, body)
                await self._end(job, await self._job_end(record, completed_end(body)))
            case 202:
                return await self._note_open(record, orjson.loads(response.body))
            case 404 if record.id in self._known or self._clock() - record.created > RETENTION:
                await self._ledger.settle(job, amount=None, state="unknown", now=self._clock())
            case 404:
                return Look.OPEN
            case _:
                self.counts.errors += 1
                return Look.FAILED
        self._known.pop(record.id, None)
        self.counts.settled += 1
        return Look.ENDED

    async def _note_open(self, record: JobRecord, body: object) -> Look:
        self._known[record.id] = None
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        if isinstance(body, dict) and body.get("status") == "IN_PROGRESS" and record.state == "queued":
            await self._ledger.set_running(record.job or "", now=self._clock())
        return Look.OPEN

    async def _job_end(self, record: JobRecord, end: JobEnd) -> JobEnd:
        if end.failed or not self._reads_units:
            return end
        app, _, upstream_id = (record.job or "").rpartition("/")
        return JobEnd(units=await self._jobs.units(app, upstream_id, record.key_alias))

    async def _end(self, job: str, end: JobEnd) -> None:
        await self._settle(job, end)

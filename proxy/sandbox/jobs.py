"""The queue: jobs, their order and their states, read off the clock. No I/O, no event loop."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

LARGE_RESULT = 10_000


class State(StrEnum):
    """fal docs, queue status: a failed or cancelled job is COMPLETED too, with `error` set."""

    IN_QUEUE = "IN_QUEUE"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the result route answers. *units* are billable units; *error* is None exactly for a success."""

    status: int
    body: bytes
    units: float | None = None
    error: str | None = None
    error_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LogEntry:
    at: float
    message: str
    level: str = "INFO"


@dataclass(slots=True, eq=False)
class Job:
    """*started* and *ended* are unix seconds on the sandbox's clock; *ended* may lie ahead."""

    request_id: str
    account: str
    app: str
    endpoint: str
    payload: object
    submitted: float
    low_priority: bool = False
    start_by: float | None = None
    webhook: str | None = None
    started: float | None = None
    ended: float | None = None
    outcome: Outcome | None = None
    log: list[LogEntry] = field(default_factory=list)

    def state(self, now: float) -> State:
        if self.ended is not None and now >= self.ended:
            return State.COMPLETED
        return State.IN_QUEUE if self.started is None else State.IN_PROGRESS

    def entries(self, since: float, now: float) -> list[LogEntry]:
        """The log in the window after *since* up to *now*."""
        last = now if self.ended is None else min(now, self.ended)
        return [entry for entry in self.log if since < entry.at <= last]


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds; *slots* is how many jobs run at once."""

    queue_seconds: float
    run_seconds: float
    slots: int
    retention: float
    large_retention: float


@dataclass(frozen=True, slots=True)
class Turn:
    """What one look at the clock brought: jobs to start working on, and jobs that ended; each job once."""

    started: list[Job]
    ended: list[Job]


class Queue:
    def __init__(self, pace: Pace, *, timed_out: Outcome, clock: Callable[[], float]) -> None:
        self._pace = pace
        self._timed_out = timed_out
        self._clock = clock
        self._jobs: dict[str, Job] = {}
        # Normal and low priority, each in order of arrival.
        self._lanes: tuple[dict[str, Job], dict[str, Job]] = ({}, {})
        self._running: dict[str, Job] = {}
        self._deadlines: list[tuple[float, str]] = []
        self._expiries: list[tuple[float, str]] = []
        self._turned = -math.inf

    def submit(self, job: Job) -> None:
        self._jobs[job.request_id] = job
        self._lanes[job.low_priority][job.request_id] = job
        if job.start_by is not None:
            heapq.heappush(self._deadlines, (job.start_by, job.request_id))

    def start_now(self, job: Job) -> bool:
        """A direct call does not wait: it takes a free slot or is refused (fal docs, concurrency limits)."""
        if len(self._running) >= self._pace.slots:
            return False
        self._jobs[job.request_id] = job
        self._begin(job, self._clock())
        return True

    def find(self, account: str, app: str, request_id: str) -> Job | None:
        job = self._jobs.get(request_id)
        return job if job is not None and (job.account, job.app) == (account, app) else None

    def waiting(self) -> list[Job]:
        """In the order in which they will start."""
        normal, low = self._lanes
        return [*normal.values(), *low.values()]

    def position(self, job: Job) -> int:
        """Requests ahead of *job*, which waits."""
        return self.waiting().index(job)

    def length(self, endpoint: str) -> int:
        return sum(job.endpoint == endpoint for job in self.waiting())

    def turn(self) -> Turn:
        now = self._turned = self._clock()
        for request_id in _due(self._expiries, now):
            self._jobs.pop(request_id, None)
        for request_id in _due(self._deadlines, now):
            job = self._jobs.get(request_id)
            if job is not None and job.state(now) is State.IN_QUEUE:
                self.end(job, self._timed_out)
        ended = [job for job in self._running.values() if job.state(now) is State.COMPLETED]
        for job in ended:
            self._retire(job)
        return Turn(self._start(now), ended)

    def end(self, job: Job, outcome: Outcome) -> None:
        """A success takes its run's full time; a failure shows at once. The next turn tells of it."""
        now = self._clock()
        self._lanes[job.low_priority].pop(job.request_id, None)
        self._running[job.request_id] = job
        job.outcome = outcome
        job.ended = now
        if outcome.error is None and job.started is not None:
            job.ended = max(now, job.started + self._pace.run_seconds)

    def next_change(self) -> float | None:
        """When the clock alone brings a change that no turn has seen, None if only work does.

        Not what is ahead of the clock now: a moment since the last turn would be lost, and its job would wait for ever.
        """
        heads = [next(iter(lane.values())) for lane in self._lanes if lane]
        moments = [job.submitted + self._pace.queue_seconds for job in heads]
        moments += [moment for moment, _ in self._deadlines[:1]]
        moments += [job.ended for job in self._running.values() if job.ended is not None]
        moments += [entry.at for job in self._running.values() for entry in job.log]
        return min((moment for moment in moments if moment > self._turned), default=None)

    def clear(self, cancelled: Outcome) -> None:
        """Forgets every job; whoever still holds one sees it ended."""
        for job in [*self.waiting(), *self._running.values()]:
            self.end(job, cancelled)
        for store in (self._jobs, self._running, self._deadlines, self._expiries):
            store.clear()

    def _start(self, now: float) -> list[Job]:
        free = self._pace.slots - len(self._running)
        if free <= 0:
            return []
        ready = [job for job in self.waiting() if now >= job.submitted + self._pace.queue_seconds]
        for job in ready[:free]:
            self._begin(job, now)
        return ready[:free]

    def _begin(self, job: Job, now: float) -> None:
        self._lanes[job.low_priority].pop(job.request_id, None)
        self._running[job.request_id] = job
        job.started = now

    def _retire(self, job: Job) -> None:
        del self._running[job.request_id]
        # An input may be megabytes of data URI, and nobody asks for it again.
        job.payload = None
        large = job.outcome is not None and len(job.outcome.body) >= LARGE_RESULT
        kept = self._pace.large_retention if large else self._pace.retention
        heapq.heappush(self._expiries, ((job.ended or 0.0) + kept, job.request_id))


def _due(moments: list[tuple[float, str]], now: float) -> Iterator[str]:
    """Takes off the heap what has come."""
    while moments and moments[0][0] <= now:
        yield heapq.heappop(moments)[1]

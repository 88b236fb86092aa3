"""The queue: jobs, their order and their states, read off the clock. No I/O, no event loop."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count

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
        self._sequence = count()
        self._jobs: dict[str, Job] = {}
        self._waiting: dict[str, tuple[bool, int]] = {}
        self._running: dict[str, Job] = {}
        self._expiries: list[tuple[float, str]] = []

    def submit(self, job: Job) -> None:
        self._jobs[job.request_id] = job
        self._waiting[job.request_id] = (job.low_priority, next(self._sequence))

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
        return [self._jobs[request_id] for request_id in sorted(self._waiting, key=self._waiting.__getitem__)]

    def position(self, job: Job) -> int:
        """Requests ahead of *job*, which waits."""
        place = self._waiting[job.request_id]
        return sum(other < place for other in self._waiting.values())

    def length(self, endpoint: str) -> int:
        return sum(self._jobs[request_id].endpoint == endpoint for request_id in self._waiting)

    def turn(self) -> Turn:
        now = self._clock()
        while self._expiries and self._expiries[0][0] <= now:
            self._jobs.pop(heapq.heappop(self._expiries)[1], None)
        for job in self.waiting():
            if job.start_by is not None and now >= job.start_by:
                self.end(job, self._timed_out)
        ended = [job for job in self._running.values() if job.state(now) is State.COMPLETED]
        for job in ended:
            self._retire(job)
        ready = [job for job in self.waiting() if now >= job.submitted + self._pace.queue_seconds]
        started = ready[: self._pace.slots - len(self._running)]
        for job in started:
            self._begin(job, now)
        return Turn(started, ended)

    def end(self, job: Job, outcome: Outcome) -> None:
        """A success takes its run's full time; a failure shows at once. The next turn tells of it."""
        now = self._clock()
        self._waiting.pop(job.request_id, None)
        self._running[job.request_id] = job
        job.outcome = outcome
        job.ended = now
        if outcome.error is None and job.started is not None:
            job.ended = max(now, job.started + self._pace.run_seconds)

    def next_change(self) -> float | None:
        """When the clock alone next brings a change, None if only work does."""
        now = self._clock()
        moments = [job.submitted + self._pace.queue_seconds for job in self.waiting()]
        moments += [job.start_by for job in self.waiting() if job.start_by is not None]
        moments += [job.ended for job in self._running.values() if job.ended is not None]
        moments += [entry.at for job in self._running.values() for entry in job.log]
        return min((moment for moment in moments if moment > now), default=None)

    def clear(self, cancelled: Outcome) -> None:
        """Forgets every job; whoever still holds one sees it ended."""
        for job in [*self.waiting(), *self._running.values()]:
            self.end(job, cancelled)
        self._jobs.clear()
        self._running.clear()
        self._expiries.clear()

    def _begin(self, job: Job, now: float) -> None:
        self._waiting.pop(job.request_id, None)
        self._running[job.request_id] = job
        job.started = now

    def _retire(self, job: Job) -> None:
        del self._running[job.request_id]
        large = job.outcome is not None and len(job.outcome.body) >= LARGE_RESULT
        kept = self._pace.large_retention if large else self._pace.retention
        heapq.heappush(self._expiries, ((job.ended or 0.0) + kept, job.request_id))

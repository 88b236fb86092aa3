"""The queue: jobs, their order and their states, computed from the clock. No I/O, no event loop."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from proxy.sandbox.json_types import Json

LARGE_RESULT = 10_000


class State(StrEnum):
    """Job states of fal. A failed or cancelled job is COMPLETED with an `error` (fal docs, queue status)."""

    IN_QUEUE = "IN_QUEUE"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Answer of the result route. *units*: billable units. *error*: None exactly for a success."""

    status: int
    body: bytes
    units: float | None = None
    error: str | None = None
    error_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LogEntry:
    """Log line of a job. *at*: unix seconds."""

    at: float
    message: str
    level: str = "INFO"


@dataclass(slots=True, eq=False)
class Job:
    """One call of an endpoint.

    *started* and *ended* are unix seconds of the sandbox's clock; *ended* may be ahead.
    """

    request_id: str
    account: str
    app: str
    endpoint: str
    payload: Json
    submitted: float
    low_priority: bool = False
    start_by: float | None = None
    webhook: str | None = None
    started: float | None = None
    ended: float | None = None
    outcome: Outcome | None = None
    log: list[LogEntry] = field(default_factory=list)

    def state(self, now: float) -> State:
        """Returns the state at *now*, in unix seconds."""
        if self.ended is not None and now >= self.ended:
            return State.COMPLETED
        return State.IN_QUEUE if self.started is None else State.IN_PROGRESS

    def entries(self, since: float, now: float) -> list[LogEntry]:
        """Returns the log lines after *since* up to *now*."""
        last = now if self.ended is None else min(now, self.ended)
        return [entry for entry in self.log if since < entry.at <= last]


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """Durations in seconds. *slots*: how many jobs run at once."""

    queue_seconds: float
    run_seconds: float
    slots: int
    retention: float
    large_retention: float


@dataclass(frozen=True, slots=True)
class QueueChanges:
    """Jobs that started and jobs that ended since the previous `advance`, each of them once."""

    started: list[Job]
    ended: list[Job]


class Queue:
    """Jobs of all accounts. *timed_out*: outcome of a job that did not start before its deadline."""

    def __init__(self, settings: QueueSettings, *, timed_out: Outcome, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._timed_out = timed_out
        self._clock = clock
        self._jobs: dict[str, Job] = {}
        # Waiting jobs of normal and of low priority, each in order of arrival.
        self._waiting: tuple[dict[str, Job], dict[str, Job]] = ({}, {})
        self._running: dict[str, Job] = {}
        self._deadlines: list[tuple[float, str]] = []
        self._expiries: list[tuple[float, str]] = []
        self._advanced_at = -math.inf

    def submit(self, job: Job) -> None:
        """Appends *job* to the waiting jobs of its priority."""
        self._jobs[job.request_id] = job
        self._waiting[job.low_priority][job.request_id] = job
        if job.start_by is not None:
            heapq.heappush(self._deadlines, (job.start_by, job.request_id))

    def start_immediately(self, job: Job) -> bool:
        """Starts a direct call, or returns False where no slot is free (fal docs, concurrency limits)."""
        if len(self._running) >= self._settings.slots:
            return False
        self._jobs[job.request_id] = job
        self._start(job, self._clock())
        return True

    def find(self, account: str, app: str, request_id: str) -> Job | None:
        """Returns the job, None where it is unknown, expired, or of another account or app."""
        job = self._jobs.get(request_id)
        return job if job is not None and (job.account, job.app) == (account, app) else None

    def waiting(self) -> list[Job]:
        """Returns the waiting jobs in the order in which they will start."""
        normal, low = self._waiting
        return [*normal.values(), *low.values()]

    def position(self, job: Job) -> int:
        """Returns the number of requests ahead of *job*, which must be waiting."""
        return self.waiting().index(job)

    def length(self, endpoint: str) -> int:
        """Returns the number of waiting jobs of *endpoint*."""
        return sum(job.endpoint == endpoint for job in self.waiting())

    def advance(self) -> QueueChanges:
        """Expires, ends and starts jobs up to the present time of the clock."""
        now = self._advanced_at = self._clock()
        for request_id in _pop_due(self._expiries, now):
            self._jobs.pop(request_id, None)
        for request_id in _pop_due(self._deadlines, now):
            job = self._jobs.get(request_id)
            if job is not None and job.state(now) is State.IN_QUEUE:
                self.end(job, self._timed_out)
        ended = [job for job in self._running.values() if job.state(now) is State.COMPLETED]
        for job in ended:
            self._retire(job)
        return QueueChanges(self._start_ready(now), ended)

    def end(self, job: Job, outcome: Outcome) -> None:
        """Sets the outcome of a job, which the next `advance` returns.

        A success ends after the full run time, a failure now.
        """
        now = self._clock()
        self._waiting[job.low_priority].pop(job.request_id, None)
        self._running[job.request_id] = job
        job.outcome = outcome
        job.ended = now
        if outcome.error is None and job.started is not None:
            job.ended = max(now, job.started + self._settings.run_seconds)

    def next_change(self) -> float | None:
        """Returns the unix time of the next change that only the clock brings, None without one.

        Times are compared with the previous `advance`. A comparison with the present would skip a time between the
        two, and its job would wait for ever.
        """
        first = [next(iter(jobs.values())) for jobs in self._waiting if jobs]
        times = [job.submitted + self._settings.queue_seconds for job in first]
        times += [deadline for deadline, _ in self._deadlines[:1]]
        times += [job.ended for job in self._running.values() if job.ended is not None]
        times += [entry.at for job in self._running.values() for entry in job.log]
        return min((time for time in times if time > self._advanced_at), default=None)

    def clear(self, cancelled: Outcome) -> None:
        """Removes every job. Streams and calls that still refer to a job see it ended as *cancelled*."""
        for job in [*self.waiting(), *self._running.values()]:
            self.end(job, cancelled)
        for store in (self._jobs, self._running, self._deadlines, self._expiries):
            store.clear()

    def _start_ready(self, now: float) -> list[Job]:
        free = self._settings.slots - len(self._running)
        if free <= 0:
            return []
        ready = [job for job in self.waiting() if now >= job.submitted + self._settings.queue_seconds]
        for job in ready[:free]:
            self._start(job, now)
        return ready[:free]

    def _start(self, job: Job, now: float) -> None:
        self._waiting[job.low_priority].pop(job.request_id, None)
        self._running[job.request_id] = job
        job.started = now

    def _retire(self, job: Job) -> None:
        del self._running[job.request_id]
        # An input may be megabytes of data URI, and no route reads it after the end.
        job.payload = None
        large = job.outcome is not None and len(job.outcome.body) >= LARGE_RESULT
        seconds = self._settings.large_retention if large else self._settings.retention
        heapq.heappush(self._expiries, ((job.ended or 0.0) + seconds, job.request_id))


def _pop_due(times: list[tuple[float, str]], now: float) -> Iterator[str]:
    """Removes the ids whose time has come from the heap and yields them."""
    while times and times[0][0] <= now:
        yield heapq.heappop(times)[1]

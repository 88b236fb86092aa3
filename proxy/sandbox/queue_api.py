"""queue.fal.run: submit, status and its stream, result, cancel (fal docs, queue API)."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from proxy.sandbox.accounts import Accounts
from proxy.sandbox.endpoints import app_of
from proxy.sandbox.events import PING, EventStream, event
from proxy.sandbox.jobs import Job, LogEntry, Queue, State
from proxy.sandbox.journal import Journal
from proxy.sandbox.models import Models
from proxy.sandbox.replies import Reply, finished, infrastructure, job_not_found, new_id, payload_of
from proxy.sandbox.sources import is_loopback
from proxy.sandbox.status import Status, accepted, described
from proxy.sandbox.worker import Worker

# fal shows a sliding window of a job's log, not all of it; its width is not documented.
LOG_WINDOW = 300.0
_TRUE = frozenset({"1", "true"})


@dataclass(frozen=True, slots=True)
class QueueApi:
    origin: str
    accounts: Accounts
    models: Models
    queue: Queue
    worker: Worker
    journal: Journal
    clock: Callable[[], float]
    heartbeat: float

    async def submit(self, request: Request) -> Response:
        endpoint: str = request.path_params["endpoint"]
        app = app_of(endpoint)
        account = self.accounts.account(request.headers.getlist("authorization"), app=app)
        self.models.find(endpoint)
        job = Job(
            request_id=new_id(),
            account=account,
            app=app,
            endpoint=endpoint,
            payload=await payload_of(request),
            submitted=self.clock(),
            low_priority=request.headers.get("x-fal-queue-priority") == "low",
            start_by=_start_by(request, self.clock()),
            webhook=_webhook(request),
        )
        self.worker.turn()
        self._refuse_long_queue(request, endpoint)
        self.queue.submit(job)
        self.journal.submitted(endpoint)
        answer = accepted(job, self.origin, position=self.queue.position(job))
        self.worker.turn()
        return Reply(answer, request_id=job.request_id)

    async def status(self, request: Request) -> Response:
        job = self._job(request)
        now = self.clock()
        log = job.entries(now - LOG_WINDOW, now) if _wants_logs(request) else None
        return Reply(
            self._described(job, now, log),
            200 if job.state(now) is State.COMPLETED else 202,
            request_id=job.request_id,
        )

    async def stream(self, request: Request) -> Response:
        job = self._job(request)
        return EventStream(self._events(job, logs=_wants_logs(request)), request_id=job.request_id)

    async def result(self, request: Request) -> Response:
        job = self._job(request)
        if job.state(self.clock()) is not State.COMPLETED or job.outcome is None:
            raise infrastructure(400, "Request is still in progress")
        return finished(job.outcome, job.request_id)

    async def cancel(self, request: Request) -> Response:
        job = self._job(request)
        state = job.state(self.clock())
        if state is State.COMPLETED:
            return Reply({"status": "ALREADY_COMPLETED"}, 400, request_id=job.request_id)
        self.worker.cancel(job)
        self.journal.cancelled()
        if state is State.IN_QUEUE:
            return Reply({"status": "OK"}, request_id=job.request_id)
        return Reply({"status": "CANCELLATION_REQUESTED"}, 202, request_id=job.request_id)

    def _refuse_long_queue(self, request: Request, endpoint: str) -> None:
        name = "fal_max_queue_length"
        value = request.query_params.get(name)
        if value is not None and self.queue.length(endpoint) > _number(name, value):
            raise infrastructure(429, "The queue of this endpoint is full", error_type="queue_full")

    def _job(self, request: Request) -> Job:
        """The caller's own job. Raises FalError: 401, or the one 404 for unknown, foreign and expired alike."""
        app = app_of(request.path_params["endpoint"])
        account = self.accounts.account(request.headers.getlist("authorization"), app=app)
        self.worker.turn()
        if (job := self.queue.find(account, app, request.path_params["request_id"])) is None:
            raise job_not_found()
        return job

    def _described(self, job: Job, now: float, log: list[LogEntry] | None) -> Status:
        state = job.state(now)
        position = self.queue.position(job) if state is State.IN_QUEUE else None
        return described(job, self.origin, state=state, position=position, log=log)

    async def _events(self, job: Job, *, logs: bool) -> AsyncIterator[bytes]:
        """An event for each change, with the log entries since the one before; a comment while nothing changes."""
        last: tuple[State, int | None] | None = None
        seen = 0.0
        while not self.worker.closing.is_set():
            version, now = self.worker.version, self.clock()
            entries = job.entries(seen, now)
            state = job.state(now)
            view = (state, self.queue.position(job) if state is State.IN_QUEUE else None)
            if view != last or (logs and entries):
                yield event(self._described(job, now, entries if logs else None))
            if state is State.COMPLETED:
                return
            last, seen = view, now
            if not await self.worker.change(version, self.heartbeat):
                yield PING


def _wants_logs(request: Request) -> bool:
    return request.query_params.get("logs") in _TRUE


def _start_by(request: Request, now: float) -> float | None:
    """fal docs, common parameters: seconds to start within; the newer name wins."""
    for name in ("x-fal-request-start-timeout", "x-fal-request-timeout"):
        if (value := request.headers.get(name)) is not None:
            return now + _number(name, value)
    return None


def _number(name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError as exc:
        raise infrastructure(400, f"{name} is not a number") from exc
    if not 0 < number < math.inf:
        raise infrastructure(400, f"{name} is not above zero")
    return number


def _webhook(request: Request) -> str | None:
    """fal refuses private targets; this one takes nothing else."""
    url = request.query_params.get("fal_webhook")
    if url is not None and not is_loopback(url):
        raise infrastructure(400, "The sandbox delivers webhooks to http URLs on loopback only")
    return url

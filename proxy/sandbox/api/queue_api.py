"""Routes of queue.fal.run: submit, status and its stream, result, cancel (fal docs, queue API)."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from proxy.sandbox.accounts import Accounts
from proxy.sandbox.api.events import PING, EventStream, format_event
from proxy.sandbox.api.status import Status, describe_status, describe_submit
from proxy.sandbox.endpoints import app_id
from proxy.sandbox.input_files import is_loopback
from proxy.sandbox.jobs import Job, LogEntry, Queue, State
from proxy.sandbox.models.registry import ModelRegistry
from proxy.sandbox.request_log import RequestLog
from proxy.sandbox.responses import (
    FalResponse,
    infrastructure_error,
    job_not_found,
    job_response,
    new_id,
    read_payload,
)
from proxy.sandbox.worker import Worker

# fal shows a sliding window of a job's log, not all of it; its width is not documented.
LOG_WINDOW = 300.0
_TRUE = frozenset({"1", "true"})


@dataclass(frozen=True, slots=True)
class QueueApi:
    """Route functions of the queue.

    *origin*: the queue's address in job URLs. *heartbeat*: seconds between comments of a stream.
    """

    origin: str
    accounts: Accounts
    models: ModelRegistry
    queue: Queue
    worker: Worker
    request_log: RequestLog
    clock: Callable[[], float]
    heartbeat: float

    async def submit(self, request: Request) -> Response:
        """Queues a job. Raises FalError for an unknown endpoint, a missing key, bad options or a full queue."""
        endpoint: str = request.path_params["endpoint"]
        app = app_id(endpoint)
        account = self.accounts.authenticate(request.headers.getlist("authorization"), app=app)
        self.models.find(endpoint)
        job = Job(
            request_id=new_id(),
            account=account,
            app=app,
            endpoint=endpoint,
            payload=await read_payload(request),
            submitted=self.clock(),
            low_priority=request.headers.get("x-fal-queue-priority") == "low",
            start_by=_start_deadline(request, self.clock()),
            webhook=_webhook_url(request),
        )
        self.worker.advance()
        self._check_queue_length(request, endpoint)
        self.queue.submit(job)
        self.request_log.count_submit(endpoint)
        body = describe_submit(job, self.origin, position=self.queue.position(job))
        self.worker.advance()
        return FalResponse(body, request_id=job.request_id)

    async def status(self, request: Request) -> Response:
        """Returns the status: 200 for a completed job, else 202."""
        job = self._job(request)
        now = self.clock()
        log = job.entries(now - LOG_WINDOW, now) if _wants_logs(request) else None
        return FalResponse(
            self._describe(job, now, log),
            200 if job.state(now) is State.COMPLETED else 202,
            request_id=job.request_id,
        )

    async def stream(self, request: Request) -> Response:
        """Returns status changes as server-sent events."""
        job = self._job(request)
        return EventStream(self._events(job, logs=_wants_logs(request)), request_id=job.request_id)

    async def result(self, request: Request) -> Response:
        """Returns the model's answer. Raises FalError 400 before the job's end."""
        job = self._job(request)
        if job.state(self.clock()) is not State.COMPLETED or job.outcome is None:
            raise infrastructure_error(400, "Request is still in progress")
        return job_response(job.outcome, job.request_id)

    async def cancel(self, request: Request) -> Response:
        """Cancels a waiting or running job."""
        job = self._job(request)
        state = job.state(self.clock())
        if state is State.COMPLETED:
            return FalResponse({"status": "ALREADY_COMPLETED"}, 400, request_id=job.request_id)
        self.worker.cancel(job)
        self.request_log.count_cancel()
        if state is State.IN_QUEUE:
            return FalResponse({"status": "OK"}, request_id=job.request_id)
        return FalResponse({"status": "CANCELLATION_REQUESTED"}, 202, request_id=job.request_id)

    def _check_queue_length(self, request: Request, endpoint: str) -> None:
        name = "fal_max_queue_length"
        value = request.query_params.get(name)
        if value is not None and self.queue.length(endpoint) > _parse_positive(name, value):
            raise infrastructure_error(429, "The queue of this endpoint is full", error_type="queue_full")

    def _job(self, request: Request) -> Job:
        """Returns the caller's own job. Raises FalError 401, or one 404 for unknown, foreign and expired jobs."""
        app = app_id(request.path_params["endpoint"])
        account = self.accounts.authenticate(request.headers.getlist("authorization"), app=app)
        self.worker.advance()
        if (job := self.queue.find(account, app, request.path_params["request_id"])) is None:
            raise job_not_found()
        return job

    def _describe(self, job: Job, now: float, log: list[LogEntry] | None) -> Status:
        state = job.state(now)
        position = self.queue.position(job) if state is State.IN_QUEUE else None
        return describe_status(job, self.origin, state=state, position=position, log=log)

    async def _events(self, job: Job, *, logs: bool) -> AsyncIterator[bytes]:
        """Yields an event for each change with the new log entries, and a comment after a quiet heartbeat."""
        last: tuple[State, int | None] | None = None
        seen = 0.0
        while not self.worker.closing.is_set():
            version, now = self.worker.version, self.clock()
            entries = job.entries(seen, now)
            state = job.state(now)
            view = (state, self.queue.position(job) if state is State.IN_QUEUE else None)
            if view != last or (logs and entries):
                yield format_event(self._describe(job, now, entries if logs else None))
            if state is State.COMPLETED:
                return
            last, seen = view, now
            if not await self.worker.wait_for_change(version, self.heartbeat):
                yield PING


def _wants_logs(request: Request) -> bool:
    return request.query_params.get("logs") in _TRUE


def _start_deadline(request: Request, now: float) -> float | None:
    """Returns the unix time of the start timeout. The newer header wins (fal docs, common parameters)."""
    for name in ("x-fal-request-start-timeout", "x-fal-request-timeout"):
        if (value := request.headers.get(name)) is not None:
            return now + _parse_positive(name, value)
    return None


def _parse_positive(name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError as exc:
        raise infrastructure_error(400, f"{name} is not a number") from exc
    if not 0 < number < math.inf:
        raise infrastructure_error(400, f"{name} is not above zero")
    return number


def _webhook_url(request: Request) -> str | None:
    """Returns the webhook's URL. fal refuses private targets; the sandbox accepts only loopback ones."""
    url = request.query_params.get("fal_webhook")
    if url is not None and not is_loopback(url):
        raise infrastructure_error(400, "The sandbox delivers webhooks to http URLs on loopback only")
    return url

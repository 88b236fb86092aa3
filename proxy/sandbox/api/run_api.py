"""Routes of fal.run: the answer in one call, or as a stream.

Source: fal docs, synchronous inference and streaming.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from proxy.sandbox.accounts import Accounts
from proxy.sandbox.api.events import PING, EventStream, format_event
from proxy.sandbox.endpoints import app_id
from proxy.sandbox.jobs import Job, Outcome, Queue, State
from proxy.sandbox.models.registry import ModelRegistry
from proxy.sandbox.request_log import RequestLog
from proxy.sandbox.responses import infrastructure_error, job_response, new_id, read_payload
from proxy.sandbox.tokens import Tokens
from proxy.sandbox.worker import Worker


@dataclass(frozen=True, slots=True)
class RunApi:
    """Route functions of direct calls."""

    accounts: Accounts
    tokens: Tokens
    models: ModelRegistry
    queue: Queue
    worker: Worker
    request_log: RequestLog
    clock: Callable[[], float]
    heartbeat: float

    async def call(self, request: Request) -> Response:
        """Returns the model's answer once the job has ended."""
        job = await self._start(request)
        while (outcome := self._outcome(job)) is None:
            if self.worker.closing.is_set():
                raise infrastructure_error(503, "The sandbox is shutting down")
            await self.worker.wait_for_change(self.worker.version, self.heartbeat)
        return job_response(outcome, job.request_id)

    async def stream(self, request: Request) -> Response:
        """Returns the log and the answer as server-sent events."""
        job = await self._start(request)
        return EventStream(self._events(job), request_id=job.request_id)

    async def _start(self, request: Request) -> Job:
        """Starts a job without waiting.

        Raises FalError: 401, 404, 422 for an invalid input, 429 where no slot is free.
        """
        endpoint: str = request.path_params["endpoint"]
        app = app_id(endpoint)
        account = self._authenticate(request, endpoint, app)
        payload = await read_payload(request)
        self.models.find(endpoint).check(payload)
        job = Job(new_id(), account, app, endpoint, payload, submitted=self.clock())
        self.worker.advance()
        if not self.queue.start_immediately(job):
            raise infrastructure_error(429, "Concurrent requests limit reached")
        self.request_log.count_run(endpoint)
        self.worker.start_task(job)
        self.worker.advance()
        return job

    def _authenticate(self, request: Request, endpoint: str, app: str) -> str:
        token = request.query_params.get("fal_jwt_token")
        if token is not None and (account := self.tokens.account(token, endpoint)) is not None:
            return account
        return self.accounts.authenticate(request.headers.getlist("authorization"), app=app)

    def _outcome(self, job: Job) -> Outcome | None:
        return job.outcome if job.state(self.clock()) is State.COMPLETED else None

    async def _events(self, job: Job) -> AsyncIterator[bytes]:
        """Yields `{"message"}` for each line of the log, then the output or the error's body."""
        seen = 0.0
        while not self.worker.closing.is_set():
            version, now = self.worker.version, self.clock()
            outcome = self._outcome(job)
            for entry in job.entries(seen, now):
                yield format_event({"message": entry.message})
            if outcome is not None:
                yield b"data: %b\n\n" % outcome.body
                return
            seen = now
            if not await self.worker.wait_for_change(version, self.heartbeat):
                yield PING

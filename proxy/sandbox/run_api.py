"""fal.run: the answer in one call, or as a stream (fal docs, synchronous inference; streaming)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from proxy.sandbox.accounts import Accounts
from proxy.sandbox.endpoints import app_of
from proxy.sandbox.events import PING, EventStream, event
from proxy.sandbox.jobs import Job, Outcome, Queue, State
from proxy.sandbox.journal import Journal
from proxy.sandbox.models import Models
from proxy.sandbox.replies import finished, infrastructure, new_id, payload_of
from proxy.sandbox.tokens import Tokens
from proxy.sandbox.worker import Worker


@dataclass(frozen=True, slots=True)
class RunApi:
    accounts: Accounts
    tokens: Tokens
    models: Models
    queue: Queue
    worker: Worker
    journal: Journal
    clock: Callable[[], float]
    heartbeat: float

    async def call(self, request: Request) -> Response:
        job = await self._started(request)
        while (outcome := self._outcome(job)) is None:
            if self.worker.closing.is_set():
                raise infrastructure(503, "The sandbox is shutting down")
            await self.worker.change(self.worker.version, self.heartbeat)
        return finished(outcome, job.request_id)

    async def stream(self, request: Request) -> Response:
        job = await self._started(request)
        return EventStream(self._events(job), request_id=job.request_id)

    async def _started(self, request: Request) -> Job:
        """Takes a slot at once. Raises FalError: 401, 404, 422 for a bad input, 429 when every slot is taken."""
        endpoint: str = request.path_params["endpoint"]
        app = app_of(endpoint)
        account = self._account(request, endpoint, app)
        payload = await payload_of(request)
        self.models.find(endpoint).check(payload)
        job = Job(new_id(), account, app, endpoint, payload, submitted=self.clock())
        self.worker.turn()
        if not self.queue.start_now(job):
            raise infrastructure(429, "Concurrent requests limit reached")
        self.journal.ran(endpoint)
        self.worker.work(job)
        self.worker.turn()
        return job

    def _account(self, request: Request, endpoint: str, app: str) -> str:
        token = request.query_params.get("fal_jwt_token")
        if token is not None and (account := self.tokens.account(token, endpoint)) is not None:
            return account
        return self.accounts.account(request.headers.getlist("authorization"), app=app)

    def _outcome(self, job: Job) -> Outcome | None:
        return job.outcome if job.state(self.clock()) is State.COMPLETED else None

    async def _events(self, job: Job) -> AsyncIterator[bytes]:
        """`{"message"}` for each line of the log, then the output; or the error's body in its place."""
        seen = 0.0
        while not self.worker.closing.is_set():
            version, now = self.worker.version, self.clock()
            outcome = self._outcome(job)
            for entry in job.entries(seen, now):
                yield event({"message": entry.message})
            if outcome is not None:
                yield b"data: %b\n\n" % outcome.body
                return
            seen = now
            if not await self.worker.change(version, self.heartbeat):
                yield PING

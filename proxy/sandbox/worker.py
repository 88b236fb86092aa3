"""Moves the queue: one timer, one task a running job. Every observer calls `turn` too, so a test's clock moves it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from proxy.sandbox.faults import MODEL, Fault, Kind, Knobs
from proxy.sandbox.jobs import Job, LogEntry, Queue
from proxy.sandbox.models import Models, failed, succeeded
from proxy.sandbox.replies import FalError, infrastructure

_log = logging.getLogger(__name__)

CANCELLED = infrastructure(499, "Request was cancelled", error_type="client_cancelled")
_SHORTEST_SLEEP = 0.001


class Worker:
    """*on_end* is told once of each job that ended."""

    def __init__(
        self,
        queue: Queue,
        models: Models,
        knobs: Knobs,
        *,
        run_seconds: float,
        closing: asyncio.Event,
        clock: Callable[[], float],
        on_end: Callable[[Job], None],
    ) -> None:
        self._queue = queue
        self._models = models
        self._knobs = knobs
        self._run_seconds = run_seconds
        self._clock = clock
        self._on_end = on_end
        self._tasks: dict[Job, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None
        self._changed = asyncio.Event()
        self.closing = closing
        self.version = 0

    def turn(self) -> None:
        """Brings the queue up to the clock. Harmless to call at any time; after `close` it does nothing."""
        if self.closing.is_set():
            return
        turn = self._queue.turn()
        for job in turn.started:
            self.work(job)
        for job in turn.ended:
            self._on_end(job)
        if turn.started or turn.ended or (self._due is not None and self._clock() >= self._due):
            self._wake_waiters()
        self._arm()

    def work(self, job: Job) -> None:
        """Starts the work of a job that holds a slot."""
        script = self._models.find(job.endpoint).script(job.payload)
        begun = self._clock()
        job.log = [
            LogEntry(begun + self._run_seconds * place / len(script), message) for place, message in enumerate(script)
        ]
        task = asyncio.get_running_loop().create_task(self._run(job, self._knobs.draw(MODEL)))
        self._tasks[job] = task
        task.add_done_callback(lambda done: self._worked(job, done))

    def cancel(self, job: Job) -> None:
        self._queue.end(job, failed(CANCELLED))
        if (task := self._tasks.get(job)) is not None:
            task.cancel()
        self.turn()

    async def change(self, since: int, seconds: float) -> bool:
        """Waits until `version` is past *since*: something may have changed. False when *seconds* passed first."""
        if self.version != since:
            return True
        changed = self._changed
        try:
            async with asyncio.timeout(seconds):
                await changed.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Ends the work, the timer and whatever waits on `closing`."""
        self.closing.set()
        self._wake_waiters()
        if self._timer is not None:
            self._timer.cancel()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def clear(self) -> None:
        """Forgets every job; those that had not ended end as cancelled."""
        for task in self._tasks.values():
            task.cancel()
        self._queue.clear(failed(CANCELLED))
        self._wake_waiters()

    def _worked(self, job: Job, task: asyncio.Task[None]) -> None:
        del self._tasks[job]
        if task.cancelled() or (error := task.exception()) is None:
            return
        # A flaw in a model must not leave its job running for ever.
        _log.error("the work of %s broke", job.endpoint, exc_info=error)
        self._queue.end(job, failed(infrastructure(500)))
        self.turn()

    async def _run(self, job: Job, fault: Fault | None) -> None:
        try:
            if fault is not None:
                await _trouble(fault)
            outcome = succeeded(await self._models.find(job.endpoint).make(job.payload))
        except FalError as error:
            outcome = failed(error)
            job.log.append(LogEntry(self._clock(), outcome.error or "", "ERROR"))
        self._queue.end(job, outcome)
        self.turn()

    def _wake_waiters(self) -> None:
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due = self._queue.next_change()
        if self._due is not None:
            delay = max(_SHORTEST_SLEEP, self._due - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay, self.turn)


async def _trouble(fault: Fault) -> None:
    await asyncio.sleep(fault.delay)
    if fault.kind is Kind.HANG:
        await asyncio.Event().wait()
    if fault.kind is Kind.STATUS:
        raise infrastructure(fault.status)

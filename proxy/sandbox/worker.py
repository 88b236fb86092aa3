"""Scheduler of the queue: one timer, and one task for each running job."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from proxy.sandbox.faults import MODEL, Fault, FaultSet, Kind
from proxy.sandbox.jobs import Job, LogEntry, Queue
from proxy.sandbox.models.registry import ModelRegistry, error_outcome, success_outcome
from proxy.sandbox.responses import FalError, infrastructure_error

_log = logging.getLogger(__name__)

CANCELLED = infrastructure_error(499, "Request was cancelled", error_type="client_cancelled")
_MIN_TIMER_SECONDS = 0.001


class Worker:
    """Runs jobs and wakes their observers.

    *on_end* is called once for each ended job. Every route calls `advance` too, so a clock set by a test moves the
    queue without the timer.
    """

    def __init__(
        self,
        queue: Queue,
        models: ModelRegistry,
        faults: FaultSet,
        *,
        run_seconds: float,
        closing: asyncio.Event,
        clock: Callable[[], float],
        on_end: Callable[[Job], None],
    ) -> None:
        self._queue = queue
        self._models = models
        self._faults = faults
        self._run_seconds = run_seconds
        self._clock = clock
        self._on_end = on_end
        self._tasks: dict[Job, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None
        self._changed = asyncio.Event()
        self.closing = closing
        self.version = 0

    def advance(self) -> None:
        """Brings the queue up to the clock. Can be called at any time; after `close` it changes nothing."""
        if self.closing.is_set():
            return
        changes = self._queue.advance()
        for job in changes.started:
            self.start_task(job)
        for job in changes.ended:
            self._on_end(job)
        if changes.started or changes.ended or (self._due is not None and self._clock() >= self._due):
            self._wake_waiters()
        self._schedule()

    def start_task(self, job: Job) -> None:
        """Starts the model's task of a job that has a slot."""
        messages = self._models.find(job.endpoint).log_messages(job.payload)
        start = self._clock()
        job.log = [
            LogEntry(start + self._run_seconds * index / len(messages), message)
            for index, message in enumerate(messages)
        ]
        task = asyncio.get_running_loop().create_task(self._run(job, self._faults.draw(MODEL)))
        self._tasks[job] = task
        task.add_done_callback(lambda done: self._on_task_done(job, done))

    def cancel(self, job: Job) -> None:
        """Ends a job as cancelled."""
        self._queue.end(job, error_outcome(CANCELLED))
        if (task := self._tasks.get(job)) is not None:
            task.cancel()
        self.advance()

    async def wait_for_change(self, since: int, seconds: float) -> bool:
        """Waits until `version` is past *since*. Returns False after *seconds* without a change."""
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
        """Cancels the tasks and the timer, and wakes everything that waits on `closing`."""
        self.closing.set()
        self._wake_waiters()
        if self._timer is not None:
            self._timer.cancel()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def clear(self) -> None:
        """Removes every job. Unfinished jobs end as cancelled."""
        for task in self._tasks.values():
            task.cancel()
        self._queue.clear(error_outcome(CANCELLED))
        self._wake_waiters()

    def _on_task_done(self, job: Job, task: asyncio.Task[None]) -> None:
        del self._tasks[job]
        if task.cancelled() or (error := task.exception()) is None:
            return
        # An error in a model's code must not leave its job running for ever.
        _log.error("the task of %s failed", job.endpoint, exc_info=error)
        self._queue.end(job, error_outcome(infrastructure_error(500)))
        self.advance()

    async def _run(self, job: Job, fault: Fault | None) -> None:
        try:
            if fault is not None:
                await _inject(fault)
            outcome = success_outcome(await self._models.find(job.endpoint).run(job.payload))
        except FalError as error:
            outcome = error_outcome(error)
            job.log.append(LogEntry(self._clock(), outcome.error or "", "ERROR"))
        self._queue.end(job, outcome)
        self.advance()

    def _wake_waiters(self) -> None:
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due = self._queue.next_change()
        if self._due is not None:
            delay = max(_MIN_TIMER_SECONDS, self._due - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay, self.advance)


async def _inject(fault: Fault) -> None:
    """Delays, hangs or fails a model's task. Raises FalError for a fault of kind `status`."""
    await asyncio.sleep(fault.delay)
    if fault.kind is Kind.HANG:
        await asyncio.Event().wait()
    if fault.kind is Kind.STATUS:
        raise infrastructure_error(fault.status)

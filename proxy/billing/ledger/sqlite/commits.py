"""Group commit of a journal: rows are written on the event loop, only COMMIT runs on a thread.

Calls that come while a commit runs share the next one, so a thousand at once cost a few syncs of the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

from proxy.billing.ledger.memory.records import Changes
from proxy.billing.ledger.sqlite.journal import SqliteJournal
from proxy.errors import StoreAway

MAX_WAITING = 2_000  # calls that wait for the disk; further ones are refused at once
LAZY = 0.02  # seconds until changes that no call waits for are written
RETRY_LOCKED = 0.05  # seconds until a group is tried again that found the file locked
RETRY_FAILED = 0.2  # seconds until a group is tried again after any other error
LATE = 0.25  # seconds that a timer may be late before the event loop, and not the disk, is to blame
CLOSING = 5.0  # seconds for the last group; a disk that hangs must not keep the process from ending


class _Group:
    """Calls that wait for one commit. The thread sets *finished* and *error* before it wakes the loop."""

    __slots__ = ("error", "finished", "timer", "waiters")

    def __init__(self) -> None:
        self.waiters: list[asyncio.Future[None]] = []
        self.timer: asyncio.TimerHandle | None = None
        self.finished = False
        self.error: sqlite3.Error | None = None


class GroupCommit:
    """Commits the *pending* changes of a state to *journal*. For one event loop at a time.

    *timeout*: seconds that a call waits for its group. *on_error* is called with each error of the file.
    """

    def __init__(
        self,
        journal: SqliteJournal,
        pending: Changes,
        *,
        timeout: float,
        on_error: Callable[[sqlite3.Error], None],
    ) -> None:
        self._journal = journal
        self._pending = pending
        self._timeout = timeout
        self._on_error = on_error
        self._loop: asyncio.AbstractEventLoop | None = None
        self._next = _Group()
        self._committing: _Group | None = None
        self._started = 0.0
        self._not_before = 0.0
        self._scheduled: asyncio.Handle | None = None
        self._is_delayed = False
        self._waiting = 0
        self._jobs: SimpleQueue[tuple[_Group, asyncio.AbstractEventLoop] | None] = SimpleQueue()
        # A daemon: a disk that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="ledger", daemon=True)
        self._thread.start()
        self.error: str | None = None  # of the last commit, None where it was done
        self.commits = 0
        self.commit_seconds = 0.0

    @property
    def waiting(self) -> int:
        """Number of calls that wait for the disk now."""
        return self._waiting

    @property
    def is_busy(self) -> bool:
        """True while a group is being committed."""
        return self._committing is not None

    @property
    def is_full(self) -> bool:
        return self._waiting >= MAX_WAITING

    async def wait(self) -> None:
        """Returns once all changes so far are on the disk. Raises StoreAway after the timeout or an error.

        The changes stay, and are written later.
        """
        loop = self._running_loop()
        group = self._next
        waiter: asyncio.Future[None] = loop.create_future()
        if group.timer is None:
            group.timer = loop.call_later(self._timeout, self._expire, group, loop.time() + self._timeout)
        group.waiters.append(waiter)
        self._waiting += 1
        self._schedule(loop, 0.0)
        try:
            await waiter
        finally:
            self._waiting -= 1

    def write_later(self) -> None:
        """Writes changes that no call waits for, with the next group or after LAZY seconds."""
        loop = self._running_loop()
        if self._committing is None and self._scheduled is None:
            self._schedule(loop, LAZY)

    async def aclose(self) -> None:
        """Writes what is pending, within its time, and ends the thread."""
        if self._pending:
            with contextlib.suppress(StoreAway):
                await self.wait()
        if self._scheduled is not None:
            self._scheduled.cancel()
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join, CLOSING)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        """Returns the running event loop. What an ended one had under way is concluded first."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._scheduled, self._next = loop, None, _Group()
            if self._committing is not None:
                self._conclude(self._committing)
        return loop

    def _conclude(self, group: _Group) -> None:
        """Waits for the thread, which ends a group whether or not its event loop goes on."""
        deadline = time.monotonic() + self._timeout
        while not group.finished and time.monotonic() < deadline:
            time.sleep(0.001)
        if group.finished:
            self._done(group)

    def _schedule(self, loop: asyncio.AbstractEventLoop, delay: float) -> None:
        if self._committing is not None:
            return
        delay = max(delay, self._not_before - loop.time())
        if self._scheduled is not None:
            if delay > 0 or not self._is_delayed:
                return
            self._scheduled.cancel()
        self._is_delayed = delay > 0
        self._scheduled = loop.call_later(delay, self._flush) if delay > 0 else loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = None
        if not self._pending and not self._next.waiters:
            return
        group, self._next = self._next, _Group()
        loop = asyncio.get_running_loop()
        self._committing = group
        self._started = time.perf_counter()
        try:
            self._journal.write(self._pending.take())
        except sqlite3.Error as error:
            self._failed(group, error)
            return
        self._jobs.put((group, loop))

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            group, loop = job
            group.error = self._commit()
            group.finished = True
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._done, group)

    def _commit(self) -> sqlite3.Error | None:
        try:
            self._journal.commit()
        except sqlite3.Error as error:
            return error
        return None

    def _done(self, group: _Group) -> None:
        if group is not self._committing:
            return  # concluded in another event loop
        if group.error is not None:
            self._failed(group, group.error)
            return
        self.commits += 1
        self.commit_seconds += time.perf_counter() - self._started
        self.error = None
        self._journal.committed()
        self._committing = None
        if self._pending.drop_before is None:
            self._pending.drop_before = self._journal.unfinished_drop
        _end(group, None)
        if self._next.waiters:
            self._schedule(asyncio.get_running_loop(), 0.0)
        elif self._pending:
            self.write_later()

    def _failed(self, group: _Group, error: sqlite3.Error) -> None:
        """Keeps the changes.

        A locked file is tried again while calls wait; any other error ends their waiting.
        """
        self._journal.failed(self._pending)
        self._committing = None
        loop = asyncio.get_running_loop()
        is_locked = error.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
        self._not_before = loop.time() + (RETRY_LOCKED if is_locked else RETRY_FAILED)
        if is_locked:
            self._rejoin(group)
        else:
            self.error = str(error)
            self._on_error(error)
            _end(group, StoreAway(reason=f"ledger: {error}"))
        self._schedule(loop, 0.0)

    def _rejoin(self, group: _Group) -> None:
        waiters = [waiter for waiter in group.waiters if not waiter.done()]
        later = self._next
        group.waiters = waiters + later.waiters
        if later.timer is not None:
            later.timer.cancel()
        self._next = group

    def _expire(self, group: _Group, due: float) -> None:
        """Ends the waiting of a group, unless its reply has arrived or the event loop itself is late."""
        loop = asyncio.get_running_loop()
        if group.finished or loop.time() > due + LATE:
            group.timer = loop.call_later(LATE, self._expire, group, loop.time() + LATE)
            return
        _end(group, StoreAway(reason="ledger: the disk did not answer in time"))


def _end(group: _Group, error: StoreAway | None) -> None:
    if group.timer is not None:
        group.timer.cancel()
        group.timer = None
    waiters, group.waiters = group.waiters, []
    for waiter in waiters:
        if waiter.done():
            continue
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)

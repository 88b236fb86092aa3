"""One SQLite connection on one thread, so that no disk ever holds up the event loop.

Steps that come while the thread is at work wait, and then share one transaction: a thousand of them cost a few syncs of
the disk. A transaction starts with BEGIN IMMEDIATE, so from a step's first look to its last write no other process
writes to the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Generic, TypeVar

from proxy.breaker import Breaker, BreakerSettings
from proxy.errors import StoreAway

T_co = TypeVar("T_co", covariant=True)
Step = Callable[[sqlite3.Connection], T_co]

MOST = 200  # steps in one transaction, some 10 ms of work: in a rush those in front are answered in time
CLOSING = 5.0  # seconds for what is under way and SQLite's own tidying; a disk that hangs must not keep us from ending


@dataclass(slots=True, eq=False)
class _Call(Generic[T_co]):
    """A step, then what came of it; *told* is done when that can be asked for."""

    step: Step[T_co]
    told: asyncio.Future[None]
    outcome: T_co | Exception = field(init=False)

    def work(self, db: sqlite3.Connection) -> None:
        """A step that is wrong by itself fails alone; whatever else SQLite raises is for the whole transaction."""
        try:
            self.outcome = self.step(db)
        except (sqlite3.IntegrityError, OverflowError, ValueError) as error:
            self.outcome = ValueError(str(error))

    def tell(self) -> None:
        if not self.told.done():
            self.told.set_result(None)

    def result(self) -> T_co:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class SqliteThread:
    """*db* is its own from now on. *timeout* seconds are all a step may take, waiting included.

    After repeated failures steps fail at once, but for a probe each second. For one event loop.
    """

    def __init__(self, db: sqlite3.Connection, *, timeout: float) -> None:
        self._db = db
        self._timeout = timeout
        self._breaker = Breaker(BreakerSettings(), clock=time.monotonic)
        self._waiting: list[_Call[object]] = []
        self._at_work = False
        self._closed = False
        self._batches: SimpleQueue[list[_Call[object]] | None] = SimpleQueue()
        # A daemon: a disk that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="sqlite", daemon=True)
        self._thread.start()
        self.failures = 0

    async def run(self, step: Step[T_co], *, undo: Step[object] | None = None) -> T_co:
        """What *step* returned. It may do several things, but only its first write may be one that SQLite refuses.

        Raises ValueError where SQLite refuses the values, and StoreAway; the step may then still happen. Where *step*
        is something to be had, *undo* takes it back when the caller has not got it: too late, or cancelled meanwhile.
        """
        if self._closed:
            raise self._away("closed")
        if not self._breaker.allows():
            raise self._away("the breaker is open")
        return await self._call(step, undo)

    async def probe(self, step: Step[object]) -> None:
        """Runs *step* whatever the breaker says, and tells the breaker. Raises StoreAway."""
        if self._closed:
            raise self._away("closed")
        await self._call(step, None)

    async def aclose(self) -> None:
        """Lets what waits be done, within its time, and closes the connection."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(StoreAway):
            await self._call(lambda _: None, None)
        self._batches.put(None)
        await asyncio.to_thread(self._thread.join, CLOSING)

    async def _call(self, step: Step[T_co], undo: Step[object] | None) -> T_co:
        call = self._post(step)
        try:
            async with asyncio.timeout(self._timeout):
                await call.told
            result = call.result()
        except (TimeoutError, sqlite3.Error) as error:
            self._take_back(undo)
            self._breaker.record(ok=False)
            raise self._away(f"{type(error).__name__}: {error}"[:120]) from error
        except asyncio.CancelledError:
            self._take_back(undo)
            raise
        self._breaker.record(ok=True)
        return result

    def _post(self, step: Step[T_co]) -> _Call[T_co]:
        loop = asyncio.get_running_loop()
        if not self._waiting and not self._at_work:
            loop.call_soon(self._depart)
        call = _Call(step, loop.create_future())
        self._waiting.append(call)
        return call

    def _take_back(self, undo: Step[object] | None) -> None:
        # Steps are done in order, so this comes after what it undoes, also where that has not begun yet.
        if undo is not None:
            self._post(undo)

    def _depart(self) -> None:
        batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        if batch:
            self._at_work = True
            self._batches.put(batch)

    def _returned(self, batch: list[_Call[object]]) -> None:
        self._at_work = False
        self._depart()
        for call in batch:
            call.tell()

    def _away(self, reason: str) -> StoreAway:
        self.failures += 1
        return StoreAway(reason=f"ledger: {reason}")

    def _work(self) -> None:
        """On the thread, as all below."""
        while (batch := self._batches.get()) is not None:
            self._commit(batch)
            with contextlib.suppress(RuntimeError):  # the loop has ended, nobody waits any more
                batch[0].told.get_loop().call_soon_threadsafe(self._returned, batch)
        self._db.close()

    def _commit(self, batch: list[_Call[object]]) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for call in batch:
                call.work(self._db)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            for call in batch:
                call.outcome = error
            self._db.rollback()

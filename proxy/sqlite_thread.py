"""The one thread that touches the ledger's disk, so that the event loop never does.

Steps that come while the thread is at work wait for it and then go together: a thousand at once cost a few syncs.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue

from proxy.breaker import Breaker, BreakerSettings
from proxy.errors import StoreAway

# The thread gets Python's interpreter lock only when the loop is idle, or at the latest after this many seconds. The
# default of 5 ms starts anew whenever the loop looks for events, so a busy loop would keep the lock for good.
HANDOVER = 0.00005
MOST = 200  # steps in one group, some 10 ms of work: in a rush those in front are answered in time
CLOSING = 5.0  # seconds for what is under way and SQLite's own tidying; a disk that hangs must not keep us from ending

Step = Sequence[str]
Outcome = str | ValueError
Perform = Callable[[Sequence[Step]], Sequence[Outcome]]


@dataclass(slots=True, eq=False)
class _Call:
    """A step, then what came of it; *told* is done when that is there."""

    step: Step
    told: asyncio.Future[None]
    outcome: Outcome | sqlite3.Error = field(init=False)

    def tell(self) -> None:
        if not self.told.done():
            self.told.set_result(None)

    def answer(self) -> str:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class SqliteThread:
    """*perform* does a group of steps, all that succeed lasting; from now on only the thread calls it, and *close*.

    *timeout* seconds are all a step may take, waiting included. After repeated failures steps fail at once, but for a
    probe each second. For one event loop.
    """

    def __init__(self, perform: Perform, close: Callable[[], None], *, timeout: float) -> None:
        self._perform = perform
        self._close = close
        self._timeout = timeout
        self._breaker = Breaker(BreakerSettings(), clock=time.monotonic)
        self._waiting: list[_Call] = []
        self._at_work = False
        self._closed = False
        self._groups: SimpleQueue[list[_Call] | None] = SimpleQueue()
        sys.setswitchinterval(min(sys.getswitchinterval(), HANDOVER))
        # A daemon: a disk that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="ledger", daemon=True)
        self._thread.start()
        self.failures = 0

    async def run(self, step: Step, *, undo: Step | None = None, probe: bool = False) -> str:
        """What *step* said. A *probe* is made whatever the breaker says, which learns from it.

        Raises ValueError where SQLite refuses the values, and StoreAway, after which the step may still be done. Where
        it is something to be had, *undo* takes that back if the caller is cancelled or refused before it has it.
        """
        if self._closed:
            raise self._away("closed")
        if not probe and not self._breaker.allows():
            raise self._away("the breaker is open")
        return await self._call(step, undo)

    async def aclose(self) -> None:
        """Lets what waits be done, within its time, and closes the file."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(StoreAway):
            await self._call((), None)
        self._groups.put(None)
        await asyncio.to_thread(self._thread.join, CLOSING)

    async def _call(self, step: Step, undo: Step | None) -> str:
        call = self._post(step)
        try:
            async with asyncio.timeout(self._timeout):
                await call.told
            answer = call.answer()
        except (TimeoutError, sqlite3.Error) as error:
            self._take_back(undo)
            self._breaker.record(ok=False)
            raise self._away(f"{type(error).__name__}: {error}"[:120]) from error
        except asyncio.CancelledError:
            self._take_back(undo)
            raise
        self._breaker.record(ok=True)
        return answer

    def _post(self, step: Step) -> _Call:
        loop = asyncio.get_running_loop()
        if not self._waiting and not self._at_work:
            loop.call_soon(self._depart)
        call = _Call(step, loop.create_future())
        self._waiting.append(call)
        return call

    def _take_back(self, undo: Step | None) -> None:
        # Steps are done in order: this comes after what it undoes, even where that has not begun yet.
        if undo is not None:
            self._post(undo)

    def _depart(self) -> None:
        group, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        if group:
            self._at_work = True
            self._groups.put(group)

    def _returned(self, group: list[_Call]) -> None:
        self._at_work = False
        self._depart()
        for call in group:
            call.tell()

    def _away(self, reason: str) -> StoreAway:
        self.failures += 1
        return StoreAway(reason=f"ledger: {reason}")

    def _work(self) -> None:
        """On the thread, as all below."""
        while (group := self._groups.get()) is not None:
            for call, outcome in zip(group, self._outcomes(group), strict=True):
                call.outcome = outcome
            with contextlib.suppress(RuntimeError):  # the loop has ended, nobody waits any more
                group[0].told.get_loop().call_soon_threadsafe(self._returned, group)
        self._close()

    def _outcomes(self, group: list[_Call]) -> Sequence[Outcome | sqlite3.Error]:
        try:
            return self._perform([call.step for call in group])
        except sqlite3.Error as error:
            return [error] * len(group)

"""Steps of a store done in groups: those that come while one is at work wait, and then go together.

A thousand at once cost a few syncs of the disk, and only the one thread that does them ever waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue

from proxy.circuit_breaker import Breaker, BreakerSettings
from proxy.errors import StoreAway

MOST = 200  # steps in a group of the thread's, some 10 ms of work: in a rush those in front are answered in time
FEW = 10  # steps done in a turn of the event loop, some 0.5 ms, and callers woken in one
# While the thread is at work the loop sleeps a moment every GIVE_WAY seconds. A thread that wants the interpreter lock
# gets it from a running one after 5 ms, but counts anew whenever that one lets go of it for an instant, as a loop does
# at each look for events: a busy loop would keep the lock for good.
GIVE_WAY = 0.001
MOMENT = 0.00001  # seconds asked for; the kernel makes some 60 us of it, which is enough
CLOSING = 5.0  # seconds for what is under way and SQLite's own tidying; a disk that hangs must not keep us from ending

Step = Sequence[str]
Outcome = str | ValueError


@dataclass(slots=True, eq=False)
class _Call:
    """A step, then what came of it; *told* is done when the loop has learned of that."""

    step: Step
    told: asyncio.Future[None]
    outcome: Outcome | sqlite3.Error | None = None

    def tell(self) -> None:
        if not self.told.done():
            self.told.set_result(None)

    def answer(self) -> str:
        if self.outcome is None:
            raise TimeoutError("no answer in time")
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class GroupCommit:
    """*perform* does a group of steps; what it has returned is done and lasts. One thread uses it and *close*.

    That is a thread of its own, and a step may take *timeout* seconds, waiting included; or with *here* the event
    loop's, for steps that no disk holds up. After repeated failures steps fail at once, but for a probe each second.

    For one event loop.
    """

    def __init__(
        self,
        perform: Callable[[Sequence[Step]], Sequence[Outcome]],
        close: Callable[[], None],
        *,
        timeout: float,
        here: bool = False,
    ) -> None:
        self._perform = perform
        self._close = close
        self._timeout = None if here else timeout
        self._breaker = Breaker(BreakerSettings(), clock=time.monotonic)
        self._waiting: list[_Call] = []
        self._at_work = False
        self._closed = False
        self._here = here
        self._next_give_way: asyncio.TimerHandle | None = None
        self._groups: SimpleQueue[list[_Call] | None] = SimpleQueue()
        # A daemon: a disk that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="ledger", daemon=True)
        if not here:
            self._thread.start()
        self.failures = 0

    async def run(self, step: Step, *, undo: Step | None = None, probe: bool = False) -> str:
        """What *step* said. A *probe* is made whatever the breaker says, which learns from it.

        Raises ValueError where the store refuses the values, and StoreAway, after which the step may still be done.
        Where it is something to be had, *undo* takes that back if the caller is cancelled or refused before having it.
        """
        if self._closed:
            raise self._away("closed")
        if not probe and not self._breaker.allows():
            raise self._away("the breaker is open")
        return await self._call(step, undo)

    async def aclose(self) -> None:
        """Lets what waits be done, within its time, and closes the store."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(StoreAway):
            await self._call((), None)
        if self._here:
            self._close()
        else:
            self._groups.put(None)
            await asyncio.to_thread(self._thread.join, CLOSING)

    async def _call(self, step: Step, undo: Step | None) -> str:
        call = self._post(step)
        try:
            # Late is what the store has not answered, not what the loop comes late to see.
            with contextlib.suppress(TimeoutError):
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
        most = FEW if self._here else MOST
        group, self._waiting = self._waiting[:most], self._waiting[most:]
        self._at_work = bool(group)
        if not group:
            return
        if self._here:
            self._do(group)
            asyncio.get_running_loop().call_soon(self._returned, group)
        else:
            self._groups.put(group)
            self._give_way_later()

    def _give_way_later(self) -> None:
        self._next_give_way = asyncio.get_running_loop().call_later(GIVE_WAY, self._give_way)

    def _give_way(self) -> None:
        time.sleep(MOMENT)
        self._give_way_later()

    def _returned(self, group: list[_Call]) -> None:
        if self._next_give_way is not None:
            self._next_give_way.cancel()
        self._depart()
        self._tell(group)

    def _tell(self, group: list[_Call]) -> None:
        for call in group[:FEW]:
            call.tell()
        if len(group) > FEW:
            asyncio.get_running_loop().call_soon(self._tell, group[FEW:])

    def _away(self, reason: str) -> StoreAway:
        self.failures += 1
        return StoreAway(reason=f"ledger: {reason}")

    def _work(self) -> None:
        """All of the thread's life."""
        while (group := self._groups.get()) is not None:
            self._do(group)
            with contextlib.suppress(RuntimeError):  # the loop has ended, nobody waits any more
                group[0].told.get_loop().call_soon_threadsafe(self._returned, group)
        self._close()

    def _do(self, group: list[_Call]) -> None:
        for call, outcome in zip(group, self._outcomes(group), strict=True):
            call.outcome = outcome

    def _outcomes(self, group: list[_Call]) -> Sequence[Outcome | sqlite3.Error]:
        try:
            return self._perform([call.step for call in group])
        except sqlite3.Error as error:
            return [error] * len(group)

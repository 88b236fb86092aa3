"""Slots of open streams: how many at once, and for how long."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from proxy.auth.caller import Caller
from proxy.errors import Overloaded, RateLimited, TransportError
from proxy.upstream.body import UpstreamBody

T = TypeVar("T")

_TICK = 0.002  # uvloop's clock counts milliseconds, so a timer can be one early


class EndReason(StrEnum):
    """Reason for the end of a stream; the values are sent to its caller and written to the log."""

    COMPLETED = "completed"
    FAL_ENDED = "fal-ended"
    FAL_BROKE = "fal-broke-off"
    FAL_SILENT = "fal-silent"
    UNFIT = "blocked"
    EXPIRED = "session-expired"
    TOO_OLD = "max-age"
    DRAINING = "shutdown"
    REVOKED = "session-revoked"
    BLOCKED = "user-blocked"
    LEFT = "caller-left"
    STUCK = "client-stalled"


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Limits of streams. In seconds: age, silence towards the caller (*heartbeat*) and of fal (*idle*)."""

    per_user: int = 10
    per_worker: int = 500
    age: float = 3600.0
    heartbeat: float = 4.0  # fal's own is 15 s, but the Kotlin client gives up after 10 s
    idle: float = 90.0
    final_flush: float = 2.0  # for the last bytes to a caller who reads slowly


class StreamSlot:
    """One open stream: `read` returns content, and None at its end; `ended` has the reason then.

    Times are those of the event loop.
    """

    def __init__(self, limits: StreamLimits, *, expires: float, paid: bool) -> None:
        now = asyncio.get_running_loop().time()
        self.ended: EndReason | None = None
        self.reason: str | None = None  # for the log
        self.paid = paid
        self._limits = limits
        self._last_sent = now
        self._waiting_since: float | None = None
        self._timeout: asyncio.Timeout | None = None
        self._slack = 0.0
        self._deadline, self._deadline_reason = now + limits.age, EndReason.TOO_OLD
        self.set_deadline(expires, EndReason.EXPIRED)

    def set_deadline(self, when: float, reason: EndReason) -> None:
        """Ends the stream at *when* for *reason*, where that is sooner than the deadline so far."""
        if when >= self._deadline:
            return
        self._deadline, self._deadline_reason = when, reason
        timeout = self._timeout
        if timeout is not None and not timeout.expired():
            timeout.reschedule(min(when + self._slack, timeout.when() or math.inf))

    def reset_heartbeat(self) -> None:
        """Starts the time to the next heartbeat again: something was sent, or nothing can be sent right now."""
        self._last_sent = asyncio.get_running_loop().time()

    def end(self, ended: EndReason, reason: str | None = None) -> None:
        self.ended, self.reason = self.ended or ended, self.reason or reason

    async def read(self, source: UpstreamBody) -> bytes | None:
        """Returns the next content, b"" when a heartbeat is due, None at the end."""
        if self.ended is not None:
            return None
        now = asyncio.get_running_loop().time()
        if self._waiting_since is None:
            self._waiting_since = now
        silent = self._waiting_since + self._limits.idle
        heartbeat = self._last_sent + self._limits.heartbeat
        if min(silent, heartbeat, self._deadline) <= now:
            return self._due(now, silent)
        try:
            chunk = await self._await_until(min(silent, heartbeat, self._deadline), anext(source, b""))
        except TimeoutError:
            return self._due(asyncio.get_running_loop().time(), silent)
        except TransportError as error:
            self.end(EndReason.FAL_BROKE, str(error))
            return None
        self._waiting_since = None
        if not chunk:
            self.end(EndReason.FAL_ENDED)
            return None
        return chunk

    async def send_within(self, message: Awaitable[None]) -> bool:
        """Sends *message*; returns False where the caller is too slow to take it before the end of the stream."""
        now = asyncio.get_running_loop().time()
        self._slack = self._limits.final_flush
        try:
            await self._await_until(max(now, self._deadline) + self._slack, message)
        except TimeoutError:
            self.ended = EndReason.STUCK
            return False
        finally:
            self._slack = 0.0
        return True

    def _due(self, now: float, silent: float) -> bytes | None:
        if now + _TICK >= self._deadline:
            self.end(self._deadline_reason)
            return None
        if now + _TICK >= silent:
            self.end(EndReason.FAL_SILENT)
            return None
        return b""

    async def _await_until(self, when: float, awaitable: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout_at(when) as self._timeout:
                return await awaitable
        finally:
            self._timeout = None


class StreamRegistry:
    """Open streams of one worker. *clock* returns unix seconds."""

    def __init__(self, limits: StreamLimits, *, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._by_caller: Counter[str] = Counter()
        self._slots: set[StreamSlot] = set()
        self._sessions: dict[StreamSlot, Caller] = {}
        self._draining = False

    def __len__(self) -> int:
        return len(self._slots)

    @contextmanager
    def acquire(
        self, caller: str, *, expires: float = math.inf, paid: bool, session: Caller | None = None
    ) -> Iterator[StreamSlot]:
        """Holds a slot for *caller* (its key) until *expires* (unix seconds). *paid*: the stream was paid for.

        *session* is what `end_sessions` looks at.

        Raises RateLimited where the caller has all its slots in use, Overloaded where this worker has.
        """
        if self._draining or len(self._slots) >= self._limits.per_worker:
            raise Overloaded(reason="no more streams in this worker")
        if self._by_caller[caller] >= self._limits.per_user:
            raise RateLimited(
                f"{self._limits.per_user} streams are open already",
                retry_after=1,
                error_type="too_many_streams",
                limit=("streams", "per-user"),
            )
        loop_time = asyncio.get_running_loop().time()
        slot = StreamSlot(self._limits, expires=loop_time + expires - self._clock(), paid=paid)
        if session is not None:
            self._sessions[slot] = session
        self._by_caller[caller] += 1
        self._slots.add(slot)
        try:
            yield slot
        finally:
            self._slots.discard(slot)
            self._sessions.pop(slot, None)
            self._by_caller[caller] -= 1
            if not self._by_caller[caller]:
                del self._by_caller[caller]

    @property
    def callers(self) -> tuple[str, ...]:
        """The keys of the callers with an open stream."""
        return tuple(self._by_caller)

    def end_sessions(self, is_ended: Callable[[Caller], bool], reason: EndReason = EndReason.REVOKED) -> None:
        """Ends the streams of sessions for which *is_ended* returns True, for *reason*."""
        now = asyncio.get_running_loop().time()
        for slot, session in self._sessions.items():
            if is_ended(session):
                slot.set_deadline(now, reason)

    def drain(self, grace: float) -> None:
        """Admits no more streams. Open ones end at once, those that were paid for after *grace* seconds."""
        self._draining = True
        now = asyncio.get_running_loop().time()
        for slot in self._slots:
            slot.set_deadline(now + (grace if slot.paid else 0), EndReason.DRAINING)

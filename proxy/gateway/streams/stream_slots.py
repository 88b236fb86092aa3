"""Who may hold an answer open, how many at once, and for how long."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from proxy.errors import Overloaded, RateLimited, TransportError
from proxy.upstream.body import UpstreamBody

T = TypeVar("T")

_TICK = 0.002  # uvloop's clock counts milliseconds, so a timer can be one early


class EndReason(StrEnum):
    """Why a stream is over; the values are told to its caller and in the journal."""

    COMPLETED = "completed"
    FAL_ENDED = "fal-ended"
    FAL_BROKE = "fal-broke-off"
    FAL_SILENT = "fal-silent"
    UNFIT = "blocked"
    EXPIRED = "session-expired"
    TOO_OLD = "max-age"
    DRAINING = "shutdown"
    LEFT = "caller-left"
    STUCK = "client-stalled"


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Of streams: how many, and in seconds how old, how long silent towards the caller, and how long fal may be."""

    per_user: int = 10
    per_worker: int = 500
    age: float = 3600.0
    heartbeat: float = 4.0  # fal's own is 15 s, but the Kotlin client gives up after 10 s
    idle: float = 90.0
    final_flush: float = 2.0  # for the last bytes to a caller who reads slowly


class StreamSlot:
    """One open stream. `read` until None; `ended` then says why. All times are the loop's."""

    def __init__(self, bounds: StreamLimits, *, expires: float, paid: bool) -> None:
        now = asyncio.get_running_loop().time()
        self.ended: EndReason | None = None
        self.reason: str | None = None  # for the journal
        self.paid = paid
        self._bounds = bounds
        self._spoken = now
        self._waiting_since: float | None = None
        self._timeout: asyncio.Timeout | None = None
        self._slack = 0.0
        self._until, self._why = now + bounds.age, EndReason.TOO_OLD
        self.set_deadline(expires, EndReason.EXPIRED)

    def set_deadline(self, when: float, why: EndReason) -> None:
        """At *when*, where that is sooner than what was said before."""
        if when >= self._until:
            return
        self._until, self._why = when, why
        timeout = self._timeout
        if timeout is not None and not timeout.expired():
            timeout.reschedule(min(when + self._slack, timeout.when() or math.inf))

    def reset_heartbeat(self) -> None:
        """The caller was sent something, or nothing can be sent right now: the next heartbeat is due from here."""
        self._spoken = asyncio.get_running_loop().time()

    def end(self, why: EndReason, reason: str | None = None) -> None:
        self.ended, self.reason = self.ended or why, self.reason or reason

    async def read(self, source: UpstreamBody) -> bytes | None:
        """The next content; b"" when a heartbeat is due, None at the end."""
        if self.ended is not None:
            return None
        now = asyncio.get_running_loop().time()
        if self._waiting_since is None:
            self._waiting_since = now
        silent = self._waiting_since + self._bounds.idle
        beat = self._spoken + self._bounds.heartbeat
        if min(silent, beat, self._until) <= now:
            return self._due(now, silent)
        try:
            chunk = await self._by(min(silent, beat, self._until), anext(source, b""))
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
        """Awaits what the caller may be slow to take; False where that outlasts the stream."""
        now = asyncio.get_running_loop().time()
        self._slack = self._bounds.final_flush
        try:
            await self._by(max(now, self._until) + self._slack, message)
        except TimeoutError:
            self.ended = EndReason.STUCK
            return False
        finally:
            self._slack = 0.0
        return True

    def _due(self, now: float, silent: float) -> bytes | None:
        if now + _TICK >= self._until:
            self.end(self._why)
            return None
        if now + _TICK >= silent:
            self.end(EndReason.FAL_SILENT)
            return None
        return b""

    async def _by(self, when: float, what: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout_at(when) as self._timeout:
                return await what
        finally:
            self._timeout = None


class StreamRegistry:
    """The open streams of one worker. *clock* gives seconds since the epoch."""

    def __init__(self, bounds: StreamLimits, *, clock: Callable[[], float]) -> None:
        self._bounds = bounds
        self._clock = clock
        self._held: Counter[str] = Counter()
        self._places: set[StreamSlot] = set()
        self._draining = False

    def __len__(self) -> int:
        return len(self._places)

    @contextmanager
    def acquire(self, caller: str, *, expires: float = math.inf, paid: bool) -> Iterator[StreamSlot]:
        """*caller* is their key, *expires* when their session ends; *paid* is a stream that money was spent on.

        Raises RateLimited where the caller has all they may, Overloaded where this worker has.
        """
        if self._draining or len(self._places) >= self._bounds.per_worker:
            raise Overloaded(reason="no more streams in this worker")
        if self._held[caller] >= self._bounds.per_user:
            raise RateLimited(
                f"{self._bounds.per_user} streams are open already", retry_after=1, error_type="too_many_streams"
            )
        loop_time = asyncio.get_running_loop().time()
        place = StreamSlot(self._bounds, expires=loop_time + expires - self._clock(), paid=paid)
        self._held[caller] += 1
        self._places.add(place)
        try:
            yield place
        finally:
            self._places.discard(place)
            self._held[caller] -= 1
            if not self._held[caller]:
                del self._held[caller]

    def drain(self, grace: float) -> None:
        """No more from now on; those open are ended at once, those that were paid for in *grace* seconds."""
        self._draining = True
        now = asyncio.get_running_loop().time()
        for place in self._places:
            place.set_deadline(now + (grace if place.paid else 0), EndReason.DRAINING)

"""Deadlines of a connection. Pure: the times are passed in."""

from __future__ import annotations

import enum
import math

from proxy.http.server.limits import ConnectionLimits


class ConnectionState(enum.Enum):
    """Event that the connection waits for."""

    IDLE = enum.auto()  # a next request
    HEAD = enum.auto()  # the rest of a head, or the first one
    BODY = enum.auto()  # the rest of a body; it may be answered already
    ANSWER = enum.auto()  # us
    ENDED = enum.auto()  # its end: nothing that comes is read


MOMENT = 1 / 30  # of `stall_time`

IDLE, HEAD, BODY, ANSWER, ENDED = ConnectionState


class RequestTimeouts:
    """Deadlines of one connection. All times are of one monotonic clock, in seconds.

    *content* is the number of bytes of the body so far, *until* the deadline of the phase.
    """

    __slots__ = ("_body_began", "_limits", "content", "phase", "until")

    def __init__(self, limits: ConnectionLimits, now: float) -> None:
        self._limits = limits
        self.start_head(now)

    def start_head(self, now: float) -> None:
        self.phase = HEAD
        self.until = now + self._limits.head_time

    def start_body(self, now: float) -> None:
        self.phase = BODY
        self._body_began = now
        self.until = now + self._limits.body_time
        self.content = 0

    def start_response(self) -> None:
        self.phase = ANSWER
        self.until = math.inf

    def start_idle(self, now: float) -> None:
        self.phase = IDLE
        self.until = now + self._limits.keep_alive

    def idle_period(self, now: float) -> float | None:
        """Returns a value for the time in which the connection is idle, None in the first moment.

        What the client has read is then asked of the system, which is dear for one that sends its next request at once.
        """
        idle_since = self.until - self._limits.keep_alive
        return self.until if self.phase is IDLE and now - idle_since >= self._limits.stall_time * MOMENT else None

    def start_linger(self, now: float) -> None:
        self.phase = ENDED
        self.until = now + self._limits.linger

    def shorten(self, now: float) -> None:
        """Brings the deadline forward: the rest of a half-sent request must come soon."""
        self.until = min(self.until, now + self._limits.closing)

    def expired(self, now: float) -> bool:
        """Returns whether the time is over, or a body is slower than the least rate after its grace."""
        if now >= self.until or self.phase is not BODY:
            return now >= self.until
        return self.content < self._limits.min_rate * (now - self._body_began - self._limits.rate_grace)

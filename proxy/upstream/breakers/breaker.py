"""Circuit breaker for one kind of call to one of fal's origins. Pure: the clock is passed in.

No caller and no job opens it alone: a failure counts for the caller that met it. The breaker opens by the share of
callers. Only a refused connection counts for every caller, since no caller can cause one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from proxy.errors import NotSent

HANG = 4.0  # seconds without any answer
MAX_CALLERS = 1000  # in one window; the calls of further callers are not counted


class CallEnd(Enum):
    """End of one call, as far as it shows whether fal works."""

    ANSWERED = auto()
    FAILED = auto()
    NOT_CONNECTED = auto()
    NEUTRAL = auto()  # cancelled, or never sent for a reason of our own


@dataclass(frozen=True, slots=True)
class UpstreamBreakerSettings:
    """Conditions under which a breaker opens and closes. Times in seconds.

    It opens after *failures* failures in *window*, where *callers* callers and *ratio* of all met more failures than
    answers. *connects* refused connections in a row open it at once. So does a hang: calls of *callers* callers wait
    and fal has answered none for *hang* (None: calls may take long). While it is open, one call each *probe_every*
    passes and decides.
    """

    window: float = 10.0
    callers: int = 2
    ratio: float = 0.5
    failures: int = 10
    connects: int = 5
    hang: float | None = HANG
    probe_every: float = 1.0


class Call:
    """One call under way, from `begin` to `end`."""

    __slots__ = ("caller", "started")

    def __init__(self, caller: str) -> None:
        self.caller = caller
        self.started = 0.0


class UpstreamBreaker:
    """Breaker of one kind of call, *name*. *on_change* is called with the reason at each change."""

    def __init__(
        self,
        name: str,
        settings: UpstreamBreakerSettings,
        *,
        clock: Callable[[], float],
        on_change: Callable[[UpstreamBreaker, str], None],
    ) -> None:
        self.name = name
        self.is_open = False
        self._settings = settings
        self._clock = clock
        self._on_change = on_change
        self._next_probe = 0.0
        self._connects = 0  # refused connections since the last answer
        self._pending: dict[Call, None] = {}  # ordered: the oldest first
        self._answered = clock()
        self._start_window(self._answered)

    def begin(self, call: Call) -> None:
        """Starts a call, to be ended with `end`. Raises NotSent while the breaker is open."""
        now = self._clock()
        if not self.is_open and self._pending:
            self._check_hang(now)
        if self.is_open:
            if now < self._next_probe:
                raise NotSent(reason=f"the breaker for {self.name} is open")
            self._next_probe = now + self._settings.probe_every
        call.started = now
        self._pending[call] = None

    def end(self, call: Call, end: CallEnd) -> None:
        """Ends *call* and counts it. While the breaker is open, one answer closes it and clears the window."""
        del self._pending[call]
        if end is CallEnd.NEUTRAL:
            return
        now = self._clock()
        if now - self._started > self._settings.window:
            self._start_window(now)
        answered = end is CallEnd.ANSWERED
        if call.caller in self._balances or len(self._balances) < MAX_CALLERS:
            self._balances[call.caller] = self._balances.get(call.caller, 0) + (1 if answered else -1)
        if answered:
            self._answered = now
            self._connects = 0
            if self.is_open:
                self._close(now)
            return
        self._failures += 1
        self._connects += end is CallEnd.NOT_CONNECTED
        if not self.is_open:
            self._check_failures(now)

    def _check_failures(self, now: float) -> None:
        settings = self._settings
        if self._connects >= settings.connects:
            self._open(now, f"{self._connects} connections were refused in a row")
        elif self._failures >= settings.failures:
            failing = sum(balance < 0 for balance in self._balances.values())
            if failing >= settings.callers and failing >= settings.ratio * len(self._balances):
                self._open(now, f"calls of {failing} of {len(self._balances)} callers failed")

    def _check_hang(self, now: float) -> None:
        hang = self._settings.hang
        if hang is None:
            return
        oldest = next(iter(self._pending))
        if now - max(oldest.started, self._answered) < hang:
            return
        waiting = {call.caller for call in self._pending if now - call.started >= hang / 2}
        if len(waiting) >= self._settings.callers:
            self._open(now, f"{len(self._pending)} calls wait and fal has answered none for {hang:g} s")

    def _open(self, now: float, reason: str) -> None:
        self.is_open = True
        self._next_probe = now + self._settings.probe_every
        self._on_change(self, reason)

    def _close(self, now: float) -> None:
        self.is_open = False
        self._start_window(now)
        self._on_change(self, "fal answered")

    def _start_window(self, now: float) -> None:
        self._started = now
        self._failures = 0
        self._balances: dict[str, int] = {}  # answers minus failures, by caller

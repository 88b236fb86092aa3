"""When to stop asking a peer that does not answer: pure, the clock is passed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """Opens when *ratio* of at least *minimum* calls in a window of *window* seconds failed.

    While open, one probe each *probe_every* seconds decides.
    """

    window: float = 10.0
    minimum: int = 20
    ratio: float = 0.5
    probe_every: float = 1.0


class Breaker:
    """Counts in tumbling windows: two integers, however many calls a second there are."""

    def __init__(self, settings: BreakerSettings, *, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._next_probe: float | None = None
        self._begin(clock())

    @property
    def is_open(self) -> bool:
        return self._next_probe is not None

    def allows(self) -> bool:
        """Returns True where a call may be made now. While it is open, one probe passes each interval."""
        if self._next_probe is None:
            return True
        now = self._clock()
        if now < self._next_probe:
            return False
        self._next_probe = now + self._settings.probe_every
        return True

    def record(self, *, ok: bool) -> None:
        """The outcome of an allowed call. While open, one good probe closes it and forgets the past."""
        if ok and self._next_probe is None:
            self._calls += 1
            return
        now = self._clock()
        if self._next_probe is not None:
            if ok:
                self._next_probe = None
                self._begin(now)
            return
        if now - self._started > self._settings.window:
            self._begin(now)
        self._calls += 1
        self._failures += not ok
        enough = self._calls >= self._settings.minimum
        if not ok and enough and self._failures >= self._settings.ratio * self._calls:
            self._next_probe = now + self._settings.probe_every

    def _begin(self, now: float) -> None:
        self._started = now
        self._calls = 0
        self._failures = 0

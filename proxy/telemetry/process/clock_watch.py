"""Detection of steps of the system clock, against the monotonic one."""

from __future__ import annotations

from collections.abc import Callable

SMALLEST_STEP = 60.0  # seconds; smaller ones are corrections by NTP


class ClockWatch:
    """Comparison of two clocks, both in seconds."""

    def __init__(self, wall: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._offset = wall() - monotonic()

    def step(self) -> float | None:
        """Returns the seconds by which the clock was set since the last call, below 0 for back, else None."""
        offset = self._wall() - self._monotonic()
        step, self._offset = offset - self._offset, offset
        return step if abs(step) >= SMALLEST_STEP else None

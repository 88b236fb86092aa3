"""Detection of steps of the system clock, against the monotonic one."""

from __future__ import annotations

from collections.abc import Callable

SMALLEST_STEP = 60.0  # seconds; smaller ones are corrections by NTP


class ClockWatch:
    """Compares two clocks, both in seconds, each time it is asked."""

    def __init__(self, wall: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._offset = wall() - monotonic()

    def step(self) -> float | None:
        """Returns by how many seconds the clock was set ahead (or back: below 0) since the last call, None for not."""
        offset = self._wall() - self._monotonic()
        step, self._offset = offset - self._offset, offset
        return step if abs(step) >= SMALLEST_STEP else None

"""Count of the worker starts that failed in a row. Pure."""

from __future__ import annotations

import signal
from collections.abc import Collection

STARTUP_SECONDS = 10.0  # a worker that ends sooner has not started, ready or not
_KILLED = (-signal.SIGKILL, -signal.SIGTERM)  # from outside, so no sign of a worker that cannot start


class WorkerStarts:
    """Starts of the workers that are alive, by process id, and the number of *failed* ones in a row.

    A start has failed where the worker ends before it was ready, however long that took, or soon after it.
    """

    def __init__(self) -> None:
        self.failed = 0
        self._begun: dict[int, float] = {}
        self._ready: set[int] = set()

    def begin(self, pids: Collection[int], now: float) -> None:
        """Notes the workers that are there at *now*. All others were replaced without a failure."""
        self._begun = {pid: self._begun.get(pid, now) for pid in pids}
        self._ready.intersection_update(pids)

    def unready(self) -> list[int]:
        """Returns the workers that were not ready yet."""
        return [pid for pid in self._begun if pid not in self._ready]

    def mark_ready(self, pid: int) -> None:
        """Notes that a worker serves requests."""
        self._ready.add(pid)

    def end(self, pid: int, code: int, now: float, *, hung: bool = False) -> None:
        """Notes the end of a worker that was not asked to stop, or was killed here as it *hung*."""
        begun, was_ready = self._begun.pop(pid, now), pid in self._ready
        self._ready.discard(pid)
        has_failed = (hung or code not in _KILLED) and (not was_ready or now < begun + STARTUP_SECONDS)
        self.failed = self.failed + 1 if has_failed else 0

"""Jobs whose next status request is due, holders of full slots first. Pure."""

from __future__ import annotations

from proxy.billing.ledger.memory.deadline_queue import DeadlineQueue


class DueJobs:
    """Open jobs by the time of their next look. An urgent one is taken before all others that are due."""

    def __init__(self) -> None:
        self._urgent: DeadlineQueue[str] = DeadlineQueue()
        self._others: DeadlineQueue[str] = DeadlineQueue()
        # Sets when a job is due that is not known yet, in unix seconds.
        self.add = self._others.put

    def put(self, call_id: str, due: float, *, urgent: bool) -> None:
        """Sets when *call_id* is due, in unix seconds."""
        queue, other = (self._urgent, self._others) if urgent else (self._others, self._urgent)
        other.discard(call_id)
        queue.put(call_id, due)

    def hurry(self, call_id: str) -> None:
        """Makes *call_id* urgent. No effect where it is unknown or urgent already."""
        due = self._others.get(call_id)
        if due is not None:
            self.put(call_id, due, urgent=True)

    def discard(self, call_id: str) -> None:
        self._urgent.discard(call_id)
        self._others.discard(call_id)

    def count_due(self, now: float) -> int:
        """Returns how many are due."""
        return self._urgent.count_due(now) + self._others.count_due(now)

    def pop(self, now: float) -> str | None:
        """Removes one that is due, and returns it."""
        due = self._urgent.pop_due(now) or self._others.pop_due(now)
        return None if due is None else due[0]

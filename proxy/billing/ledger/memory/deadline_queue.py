"""Priority queue of keys by deadline, with changes and removals in O(log n)."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

K = TypeVar("K")
_SLACK = 64  # outdated heap entries that are not worth a rebuild


class DeadlineQueue(Generic[K]):
    """Deadlines of keys. Iteration is in order of insertion.

    The heap may hold outdated entries; the dict decides. The heap is rebuilt once it is twice as long as the dict.
    """

    __slots__ = ("_deadlines", "_heap")

    def __init__(self) -> None:
        self._deadlines: dict[K, float] = {}
        self._heap: list[tuple[float, K]] = []

    def __len__(self) -> int:
        return len(self._deadlines)

    def __contains__(self, key: K) -> bool:
        return key in self._deadlines

    def __iter__(self) -> Iterator[K]:
        return iter(self._deadlines)

    def get(self, key: K) -> float | None:
        """Returns the deadline of *key*, None where it has none."""
        return self._deadlines.get(key)

    def put(self, key: K, deadline: float) -> None:
        """Sets the deadline of *key*, in place of an earlier one."""
        self._deadlines[key] = deadline
        heappush(self._heap, (deadline, key))
        if len(self._heap) > 2 * len(self._deadlines) + _SLACK:
            self._heap = [(at, one) for one, at in self._deadlines.items()]
            heapify(self._heap)

    def discard(self, key: K) -> None:
        """Removes *key*. No effect where it is absent."""
        self._deadlines.pop(key, None)

    def count_due(self, now: float) -> int:
        """Returns how many deadlines are <= *now*. It looks at all of them: for a metric, not for a step."""
        return sum(deadline <= now for deadline in self._deadlines.values())

    def pop_due(self, now: float) -> tuple[K, float] | None:
        """Removes the key with the earliest deadline <= *now*, and returns it with its deadline."""
        heap, deadlines = self._heap, self._deadlines
        while heap and heap[0][0] <= now:
            deadline, key = heappop(heap)
            if deadlines.get(key) == deadline:
                del deadlines[key]
                return key, deadline
        return None

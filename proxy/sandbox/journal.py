from __future__ import annotations

import hashlib
from collections import Counter, deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One request as it arrived; *authorization* header values are replaced by `accepted` or `refused`."""

    at: float
    surface: str
    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body_sha256: str
    body_length: int


class Journal:
    """What reached the sandbox, and what it took on: the other end of "was this paid twice?"."""

    def __init__(self, *, size: int) -> None:
        self.entries: deque[Entry] = deque(maxlen=size)
        self.clear()

    def clear(self) -> None:
        self.entries.clear()
        self._submits: Counter[str] = Counter()
        self._runs: Counter[str] = Counter()
        self._cancels = 0
        self._units = 0.0

    def submitted(self, endpoint: str) -> None:
        self._submits[endpoint] += 1

    def ran(self, endpoint: str) -> None:
        self._runs[endpoint] += 1

    def cancelled(self) -> None:
        self._cancels += 1

    def billed(self, units: float) -> None:
        self._units += units

    def counts(self) -> dict[str, object]:
        """Accepted calls only; `billable_units` of every success, delivered or not."""
        return {
            "submits": {"total": self._submits.total(), "by_endpoint": dict(self._submits)},
            "runs": {"total": self._runs.total(), "by_endpoint": dict(self._runs)},
            "cancels": self._cancels,
            "billable_units": round(self._units, 4),
        }


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()

"""Log of received requests, and counts of accepted calls."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One request as it arrived. `authorization` header values are replaced by `accepted` or `refused`.

    *key_id*: the id half of the key.
    """

    at: float
    surface: str
    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body_sha256: str
    body_length: int
    key_id: str = ""


class RequestLog:
    """The newest *size* requests, and counts that show whether a call was paid twice."""

    def __init__(self, *, size: int) -> None:
        self.entries: deque[LoggedRequest] = deque(maxlen=size)
        self.clear()

    def clear(self) -> None:
        """Removes all entries and counts."""
        self.entries.clear()
        self._submits: Counter[str] = Counter()
        self._runs: Counter[str] = Counter()
        self._cancels = 0
        self._units = 0.0

    def count_submit(self, endpoint: str) -> None:
        """Counts an accepted submit."""
        self._submits[endpoint] += 1

    def count_run(self, endpoint: str) -> None:
        """Counts an accepted direct call."""
        self._runs[endpoint] += 1

    def count_cancel(self) -> None:
        """Counts an accepted cancel."""
        self._cancels += 1

    def add_units(self, units: float) -> None:
        """Adds the billable units of a successful job."""
        self._units += units

    def counts(self) -> dict[str, object]:
        """Returns counts of accepted calls and the `billable_units` of all successes.

        A success counts whether its answer reached the caller or not.
        """
        return {
            "submits": {"total": self._submits.total(), "by_endpoint": dict(self._submits)},
            "runs": {"total": self._runs.total(), "by_endpoint": dict(self._runs)},
            "cancels": self._cancels,
            "billable_units": round(self._units, 4),
        }


def digest(body: bytes) -> str:
    """Returns the SHA-256 of *body* in hexadecimal."""
    return hashlib.sha256(body).hexdigest()

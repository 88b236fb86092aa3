"""Connections that ended before their request was complete, summed by address for the journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

MAX_ADDRESSES = 1000  # counted between two reports; further ones are one row without an address
MAX_LINES = 20  # of one report, the most frequent first


class Rejections:
    """Counts by error type and address, so that a flood of connections is no flood of lines.

    *write* takes the line of an event. *with_address* is False where the journal has no addresses.
    """

    def __init__(self, write: Callable[[Mapping[str, object]], None]) -> None:
        self.with_address = True
        self.write = write
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, error_type: str, address: str, count: int = 1) -> None:
        """Counts connections or requests of *address*, which is the TCP peer: behind a front proxy, the proxy."""
        key = (error_type, address if self.with_address else "")
        if key not in self._counts and len(self._counts) >= MAX_ADDRESSES:
            key = (error_type, "")
        self._counts[key] += count

    def report(self) -> None:
        """Writes a line for each of the most frequent, and one for each error type of the rest."""
        counts, self._counts = self._counts.most_common(), Counter()
        rest: Counter[str] = Counter()
        for (error_type, _), count in counts[MAX_LINES:]:
            rest[error_type] += count
        for (error_type, address), count in counts[:MAX_LINES]:
            where = {"address": address} if address else {}
            self.write({"event": "rejections", "error_type": error_type, **where, "count": count})
        for error_type, count in rest.items():
            self.write({"event": "rejections", "error_type": error_type, "count": count, "addresses": "others"})

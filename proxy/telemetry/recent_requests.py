"""Recent requests of one process: the last ones, and how long calls of each operation waited for fal."""

from __future__ import annotations

from collections import deque

from proxy.telemetry.access_record import AccessRecord

KEPT_REQUESTS = 200
KEPT_WAITS = 500  # of each operation


class RecentRequests:
    """Records of the last requests, and waits for fal in milliseconds by action."""

    def __init__(self) -> None:
        self.records: deque[AccessRecord] = deque(maxlen=KEPT_REQUESTS)
        self.waits: dict[str, deque[float]] = {}

    def add(self, record: AccessRecord, action: str, seconds: float) -> None:
        """Keeps a request that took *seconds*. Called once for each, so it must stay below a microsecond."""
        record.seconds = seconds
        record.path, record.trace = b"", None  # a path may be long, and none of it is shown
        self.records.append(record)
        wait = record.upstream_ms
        if wait is not None:
            waits = self.waits.get(action)
            if waits is None:
                waits = self.waits[action] = deque(maxlen=KEPT_WAITS)
            waits.append(wait)

    def drop_ended(self, before: float) -> None:
        """Removes the records of requests that ended *before* a time of their clock."""
        records = self.records
        while records and records[0].started + records[0].seconds < before:
            records.popleft()

from __future__ import annotations

from proxy.telemetry.access_record import AccessRecord
from proxy.telemetry.recent_requests import KEPT_REQUESTS, KEPT_WAITS, RecentRequests
from proxy.telemetry.request_trace import RequestTrace


def test_the_last_requests_are_kept() -> None:
    """The number of requests has a bound, and so have the waits of an operation; paths and traces are dropped."""
    recent = RecentRequests()
    for number in range(KEPT_WAITS + 10):
        record = AccessRecord(str(number), "GET", b"/long" * 100, lambda: 0.0)
        record.trace, record.upstream_ms = RequestTrace(lambda: 0.0), float(number)
        recent.add(record, "status", 0.5)
    recent.add(AccessRecord("last", "GET", b"/", lambda: 0.0), "none", 0.1)

    assert len(recent.records) == KEPT_REQUESTS
    assert [record.request_id for record in recent.records][-2:] == [str(KEPT_WAITS + 9), "last"]
    assert {(record.path, record.trace) for record in recent.records} == {(b"", None)}
    assert {action: (waits[0], len(waits)) for action, waits in recent.waits.items()} == {"status": (10.0, KEPT_WAITS)}
    assert recent.records[-1].seconds == 0.1

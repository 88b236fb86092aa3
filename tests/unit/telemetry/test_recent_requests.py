from __future__ import annotations

from proxy.telemetry.access_record import AccessRecord
from proxy.telemetry.recent_requests import KEPT_REQUESTS, KEPT_WAITS, RecentRequests
from proxy.telemetry.request_trace import RequestTrace


def test_the_last_requests_are_kept() -> None:
    """Requests are bounded in number, and so are the waits of an operation; paths and traces are dropped."""
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


def test_old_requests_are_dropped_by_their_end() -> None:
    """A long request stays as long as one that began when it ended."""
    recent = RecentRequests()
    for begin, seconds in ((0.0, 1.0), (0.0, 10.0), (10.0, 5.0)):
        recent.add(AccessRecord(f"{begin}+{seconds}", "GET", b"/", lambda begin=begin: begin), "none", seconds)  # type: ignore[misc]
    recent.drop_ended(10.0)

    assert [record.request_id for record in recent.records] == ["0.0+10.0", "10.0+5.0"]
    recent.drop_ended(100.0)
    assert not recent.records

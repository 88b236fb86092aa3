from __future__ import annotations

from collections.abc import Mapping

from proxy.telemetry.rejections import MAX_ADDRESSES, MAX_LINES, Rejections


def test_one_line_for_many_connections() -> None:
    """Connections are summed by error type and address; a report starts from nothing."""
    lines: list[Mapping[str, object]] = []
    rejections = Rejections(lines.append)
    for _ in range(3):
        rejections.add("slow_reader", "203.0.113.9")
    rejections.add("request_timeout", "")
    rejections.report()
    rejections.report()

    assert lines == [
        {"event": "rejections", "error_type": "slow_reader", "address": "203.0.113.9", "count": 3},
        {"event": "rejections", "error_type": "request_timeout", "count": 1},
    ]


def test_a_flood_from_many_addresses() -> None:
    """Lines of a report and stored addresses are bounded; no connection is left out of the sums."""
    lines: list[Mapping[str, object]] = []
    rejections = Rejections(lines.append)
    for number in range(2 * MAX_ADDRESSES):
        rejections.add("too_many_connections", f"2001:db8:{number:x}::/64")
    rejections.report()

    assert len(lines) == MAX_LINES + 1
    assert sum(int(str(line["count"])) for line in lines) == 2 * MAX_ADDRESSES


def test_a_journal_without_addresses() -> None:
    """No address is kept where the operator leaves addresses out."""
    lines: list[Mapping[str, object]] = []
    rejections = Rejections(lines.append)
    rejections.with_address = False
    rejections.add("slow_reader", "203.0.113.9")
    rejections.report()

    assert lines == [{"event": "rejections", "error_type": "slow_reader", "count": 1}]

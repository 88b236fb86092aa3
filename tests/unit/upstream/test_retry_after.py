from __future__ import annotations

import pytest

from proxy.upstream.retry_after import parse_retry_after

NOW = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110 section 5.6.7


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 1),
        (b"30", 30),
        (b"0", 1),
        (b"007", 7),
        (b"301", 300),
        (b"99999", 300),
        (b"9999999999", 300),
        (b"1" * 5000, 300),
        (b"0" * 5000 + b"5", 5),
        (b"Sun, 06 Nov 1994 08:50:07 GMT", 30),
        (b"Sunday, 06-Nov-94 08:50:07 GMT", 30),
        (b"Sun Nov  6 08:50:07 1994", 30),
        (b"Fri, 06 Nov 2026 08:49:37 GMT", 300),
        (b"Sat, 05 Nov 1994 08:49:37 GMT", 1),
        (b"-1", 1),
        (b"1.5", 1),
        (b"soon", 1),
        (b"", 1),
        (b"Fri, 31 Feb 2026 00:00:00 GMT", 1),
        (b"\xff", 1),
    ],
)
def test_a_wait_is_between_a_second_and_five_minutes(value: bytes | None, seconds: int) -> None:
    """Seconds of any length and dates of all three forms are read; a malformed value is one second."""
    assert parse_retry_after(value, NOW) == seconds

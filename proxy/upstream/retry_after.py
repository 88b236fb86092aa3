"""Retry-After of fal's answers: delay-seconds or an HTTP-date (RFC 9110 section 10.2.3). Pure."""

from __future__ import annotations

import math
import re
from datetime import UTC
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER = 300  # seconds; a longer wait of fal's is not passed on
_DIGITS = re.compile(rb"[0-9]+")
_LONGEST = 9  # digits that are converted; every longer number is beyond the maximum


def parse_retry_after(value: bytes | None, now: float) -> int:
    """Returns whole seconds from 1 to 300. *now* is unix seconds; 1 where *value* is missing or malformed."""
    if value is None:
        return 1
    if _DIGITS.fullmatch(value):
        significant = value.lstrip(b"0")
        seconds = int(significant or b"0") if len(significant) <= _LONGEST else MAX_RETRY_AFTER
    else:
        seconds = _seconds_until(value, now)
    return min(max(seconds, 1), MAX_RETRY_AFTER)


def _seconds_until(date: bytes, now: float) -> int:
    try:
        moment = parsedate_to_datetime(date.decode("ascii"))
    except ValueError:
        return 1
    # An asctime-date has no zone; HTTP dates are in GMT.
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return math.ceil(min(moment.timestamp() - now, MAX_RETRY_AFTER))

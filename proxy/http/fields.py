"""Header fields of one message: the raw list, and look-ups by name (RFC 9110 section 5)."""

from __future__ import annotations

from collections.abc import Sequence

Fields = Sequence[tuple[bytes, bytes]]


def by_name(fields: Fields) -> dict[bytes, bytes]:
    """The first field of each name."""
    return dict(fields[::-1])


def first(fields: Fields, name: bytes) -> bytes | None:
    for field, value in fields:
        if field == name:
            return value
    return None

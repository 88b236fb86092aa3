"""Header fields of a message: a list in the order received, or a mapping by name (RFC 9110 section 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# Names are in lower case.
Fields = Sequence[tuple[bytes, bytes]]
FieldsByName = Mapping[bytes, bytes]


def by_name(fields: Fields) -> dict[bytes, bytes]:
    """Returns the first field of each name."""
    return dict(fields[::-1])


def first(fields: Fields, name: bytes) -> bytes | None:
    for field, value in fields:
        if field == name:
            return value
    return None


def accepts_gzip(fields: Fields) -> bool:
    """Returns whether Accept-Encoding names gzip with a weight above zero (RFC 9110 section 12.5.3)."""
    for item in (first(fields, b"accept-encoding") or b"").split(b","):
        coding, _, weight = item.strip().lower().partition(b";")
        if coding.strip() == b"gzip":
            return weight.replace(b" ", b"").rstrip(b"0.") != b"q="
    return False

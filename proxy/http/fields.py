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

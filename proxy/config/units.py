"""Sizes and durations in the units of people: 64 MiB, 2 years."""

from __future__ import annotations

_SIZES = ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"))
_DURATIONS = (
    (366 * 86_400, "year"),
    (365 * 86_400, "year"),
    (86_400, "day"),
    (3600, "hour"),
    (60, "minute"),
)


def format_size(number: float) -> str:
    """Returns *number* bytes in the largest unit that divides it."""
    for size, unit in _SIZES:
        if number and number % size == 0:
            return f"{number / size:,.0f} {unit}"
    return f"{number:,.0f} bytes"


def format_duration(seconds: float) -> str:
    """Returns *seconds* in the largest unit that divides them."""
    for duration, unit in _DURATIONS:
        if seconds and seconds % duration == 0:
            return _counted(seconds / duration, unit)
    return _counted(seconds, "second")


def format_amount(key: str, number: float) -> str:
    """Returns the value *number* of *key* in its unit, which the end of the key's name gives."""
    if key.endswith("_bytes"):
        return format_size(number)
    if key.endswith("_seconds"):
        return format_duration(number)
    return format_number(number)


def format_number(number: float) -> str:
    """Returns *number* with separators of thousands, and without an exponent."""
    return f"{number:,}" if isinstance(number, int) or not number.is_integer() else f"{number:,.0f}"


def _counted(number: float, unit: str) -> str:
    return f"{format_number(number)} {unit}{'' if number == 1 else 's'}"

"""Tests of sizes and durations in words."""

from __future__ import annotations

import pytest

from proxy.config.units import format_amount


@pytest.mark.parametrize(
    ("key", "number", "words"),
    [
        ("max_bytes", 64 * 1024 * 1024, "64 MiB"),
        ("max_bytes", 1024, "1 KiB"),
        ("max_bytes", 1000, "1,000 bytes"),
        ("max_bytes", 0, "0 bytes"),
        ("hsts_seconds", 63_072_000, "2 years"),
        ("hsts_seconds", 366 * 86_400, "1 year"),
        ("keep_seconds", 86_400.0, "1 day"),
        ("keep_seconds", 90.0, "90 seconds"),
        ("keep_seconds", 0.5, "0.5 seconds"),
        ("keep_seconds", 0, "0 seconds"),
        ("limit", 1_000_000, "1,000,000"),
        ("limit", 1e9, "1,000,000,000"),
        ("limit", 0.25, "0.25"),
    ],
)
def test_an_amount_is_in_the_unit_of_its_key(key: str, number: float, words: str) -> None:
    """Bytes and seconds have the largest unit that divides them, other numbers have no exponent."""
    assert format_amount(key, number) == words

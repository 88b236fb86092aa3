"""Tests of warnings about a valid configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.advice import advice
from proxy.config.loader import read

SERVER = {"public_origin": "https://app.example.com"}
GOOD: dict[str, object] = {
    "server": SERVER,
    "endpoints": [{"id": "fal-ai/flux/dev", "price": 1}],
    "budgets": [{"name": "day", "per": "user", "window": "day", "limit": 1}],
    "ledger": {"path": "ledger.db"},
}


def keys(**changes: object) -> list[str]:
    config = read({**GOOD, **changes}, {}, base=Path())
    assert config.problems == ()
    return [warning.key for warning in advice(config)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"endpoints": []}, ["endpoints"]),
        ({"budgets": []}, ["budgets"]),
        ({"budgets": [{"name": "d", "per": "user", "window": "day", "limit": 1, "mode": "observe"}]}, ["budgets"]),
        ({"ledger": {}}, ["ledger.path"]),
        ({"server": {**SERVER, "host": "0.0.0.0"}}, ["server.trusted_proxies"]),
        ({"server": {**SERVER, "host": "0.0.0.0", "trusted_hops": 1}}, []),
        ({"server": {**SERVER, "host": "::", "trusted_proxies": ["10.0.0.0/8"]}}, []),
        ({"server": {**SERVER, "host": "localhost"}}, []),
        ({"server": {**SERVER, "trusted_proxies": ["0.0.0.0/0"]}}, ["server.trusted_proxies"]),
    ],
)
def test_a_risk_is_a_warning(changes: dict[str, object], expected: list[str]) -> None:
    """Each risk has one warning, at its key, and a good configuration has none."""
    assert keys(**changes) == expected

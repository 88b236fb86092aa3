"""Tests of the words of configuration errors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.config.loader import read

SERVER = {"public_origin": "https://app.example.com"}
LIMIT = {"name": "x", "per": "user", "actions": ["submit"], "rate": "1/minute"}
BUDGET = {"name": "x", "per": "user", "window": "day", "limit": 1}

MESSAGES: dict[str, tuple[dict[str, object], str, str]] = {
    "required": ({"server": {}}, "server.public_origin", "is required"),
    "near-section": ({"serverr": {}}, "serverr", 'unknown section; did you mean "server"?'),
    "near-key": ({"server": {**SERVER, "prot": 1}}, "server.prot", 'unknown key; did you mean "port"?'),
    "far-key": ({"server": {**SERVER, "xyzzy": 1}}, "server.xyzzy", "unknown key"),
    "near-key-of-an-inner-table": (
        {"endpoints": [{"id": "a/b", "files": {"hostss": []}}]},
        "endpoints[0].files.hostss",
        'unknown key; did you mean "hosts"?',
    ),
    "text-for-a-number": (
        {"server": {**SERVER, "port": "8091"}},
        "server.port",
        "must be a number, without quotes",
    ),
    "text-for-an-optional-number": (
        {"budgets": [{**BUDGET, "limit": "5"}]},
        "budgets[0].limit",
        "must be a number, without quotes",
    ),
    "bad-item-of-a-list": (
        {"limits": [{**LIMIT, "actions": ["submitt"]}]},
        "limits[0].actions[0]",
        'did you mean "submit"?',
    ),
    "truth-for-a-number": ({"server": {**SERVER, "port": True}}, "server.port", "must be a number, without quotes"),
    "text-for-a-truth": ({"playground": {"enabled": "yes"}}, "playground.enabled", "must be true or false"),
    "fraction": ({"server": {**SERVER, "port": 1.5}}, "server.port", "must be a whole number"),
    "list": ({"server": {**SERVER, "cors_origins": "https://a.test"}}, "server.cors_origins", "must be a list, as in"),
    "table": ({"endpoints": [{"id": "a/b", "force": 1}]}, "endpoints[0].force", "must be a table"),
    "section-that-is-no-table": ({"admin": 1}, "admin", "must be a table"),
    "text": ({"server": {**SERVER, "host": 1}}, "server.host", "must be a string"),
    "size": (
        {"server": {**SERVER, "max_body_bytes": 10**9}},
        "server.max_body_bytes",
        "must be at most 64 MiB (67108864)",
    ),
    "duration": ({"server": {**SERVER, "hsts_seconds": 10**9}}, "server.hsts_seconds", "must be at most 2 years"),
    "number": ({"admin": {"port": 70000}}, "admin.port", "must be at most 65535"),
    "near-window": (
        {"budgets": [{**BUDGET, "window": "days"}]},
        "budgets[0].window",
        '"lifetime"; did you mean "day"?',
    ),
    "hmac": (
        {"sessions": [{"issuer": "i", "audience": "a", "algorithms": ["HS512"], "secret_env": "S"}]},
        "sessions[0].algorithms[0]",
        "HS512 is not accepted: sign with HS256, the one algorithm for a secret, or with a public key",
    ),
    "list-of-one": (
        {"endpoints": [{"id": "a/b", "files": {"hosts": "uploads"}}]},
        "endpoints[0].files.hosts",
        'must be a list, as in ["uploads"]',
    ),
    "near-host": (
        {"endpoints": [{"id": "a/b", "files": {"hosts": ["upload"]}}]},
        "endpoints[0].files.hosts[0]",
        'did you mean "uploads"?',
    ),
    "choice": ({"store": {"kind": "rediss"}}, "store.kind", 'must be one of "memory", "redis"; did you mean "redis"?'),
    "action": (
        {"endpoints": [{"id": "a/b", "actions": ["submitt"]}]},
        "endpoints[0].actions[0]",
        'did you mean "submit"?',
    ),
    "window": (
        {"budgets": [{**BUDGET, "window": "fortnight"}]},
        "budgets[0].window",
        'must look like "day" or "week" or "month" or "24h" or "lifetime"',
    ),
    "rate": ({"limits": [{**LIMIT, "rate": "30/fortnight"}]}, "limits[0].rate", 'as in "30/minute"'),
    "zone": ({"budgets": [{**BUDGET, "zone": "Europe/Berlim"}]}, "budgets[0].zone", 'did you mean "Europe/Berlin"?'),
    "empty": ({"limits": [{**LIMIT, "actions": []}]}, "limits[0].actions", "must have at least one item"),
    "network": (
        {"server": {**SERVER, "trusted_proxies": ["ten"]}},
        "server.trusted_proxies[0]",
        "must be a network, as in 10.0.0.0/8",
    ),
    "old-key": ({"limits": [{**LIMIT, "when_away": "deny"}]}, "limits[0].when_away", 'is now "on_store_error"'),
    "old-value": ({"webhooks": {"mode": "ours"}}, "webhooks.mode", 'is now "gateway"'),
    "old-key-of-the-cookie": (
        {"cookie": {"name": "session", "insecure_name": True}},
        "cookie.insecure_name",
        'is now "allow_insecure_name"',
    ),
    "old-key-of-uploads": ({"uploads": {"lifetime": "cap"}}, "uploads.lifetime", 'is now "lifetime_mode"'),
}
WORDS_OF_PYDANTIC = re.compile(r"[Ii]nput should|valid|tuple|pattern|dictionary|integer|Value error|extra|boolean")


@pytest.mark.parametrize(("changes", "key", "words"), MESSAGES.values(), ids=MESSAGES)
def test_a_mistake_is_explained_in_plain_words(changes: dict[str, object], key: str, words: str) -> None:
    """One problem, at its key, that leads on; no word of the library that validates."""
    problems = read({"server": SERVER, **changes}, {}, base=Path()).problems

    assert [problem.key for problem in problems] == [key]
    assert words in problems[0].message
    assert WORDS_OF_PYDANTIC.search(problems[0].message) is None

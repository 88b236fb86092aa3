"""Configurations for tests: an app's own file, or all endpoints of the sandbox, in front of a sandbox."""

from __future__ import annotations

import secrets
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from proxy.config.env_file import read_env_file
from proxy.config.loader import Config, read
from proxy.demo.demo import PRICES, SandboxAddresses

ISSUER, AUDIENCE = "https://fal-proxy.testing", "fal-proxy-testing"
SECRET_ENV = "FAL_PROXY_TESTING_SECRET"  # noqa: S105 - the name of a variable
# Keys of a session table whose keys are fetched, or are files of a real provider.
_REMOTE = frozenset({"jwks_url", "discovery", "preset", "jwks_file", "public_key_file"})
# Keys of a deployment, which a test on loopback has not.
_DEPLOYMENT = frozenset({"host", "port", "allowed_hosts", "trusted_proxies", "trusted_hops", "drain_seconds"})
_ACTIONS = ("submit", "status", "status-stream", "result", "cancel", "run", "run-stream")
_DEFAULT: Mapping[str, object] = {
    "endpoints": [
        {"id": endpoint, "price": 1, "actions": list(_ACTIONS), "files": {"hosts": ["*", "uploads"]}}
        for endpoint in PRICES
    ],
    "uploads": {},
    "limits": [],
    "budgets": [{"name": "daily", "per": "user", "window": "day", "limit": 100.0}],
}


@dataclass(frozen=True)
class Upstream:
    """The sandbox of a configuration, with the fal key that it accepts and the secret of test tokens."""

    addresses: SandboxAddresses
    fal_key: str
    token_secret: str


def configure(
    source: Path | Mapping[str, object] | None,
    upstream: Upstream,
    *,
    public_origin: str,
    environ: Mapping[str, str],
) -> Config:
    """Returns the configuration of *source* with the sandbox as its fal and stores in memory.

    *source* is a file, its sections, or None for all endpoints of the sandbox. Sessions with a secret stay, those of
    identity providers are left out, and one for test tokens is added. Secrets that *environ* does not have are made
    up; its fal keys are ignored. Raises OSError and TOMLDecodeError; other problems are in the result.
    """
    base = source.parent if isinstance(source, Path) else Path()
    document = tomllib.loads(source.read_text(encoding="utf-8")) if isinstance(source, Path) else source or _DEFAULT
    document = _for_tests(document, upstream, public_origin)
    given = {**(read_env_file(base) if isinstance(source, Path) else {}), **environ}
    return read(document, _environment(document, given, upstream), base=base)


def _for_tests(document: Mapping[str, object], upstream: Upstream, public_origin: str) -> dict[str, object]:
    addresses = upstream.addresses
    server, fal, ledger = (_table(document, name) for name in ("server", "fal", "ledger"))
    sessions = document.get("sessions", [])
    own = [
        session
        for session in (sessions if isinstance(sessions, list) else [])
        if isinstance(session, dict) and not _REMOTE & session.keys()
    ]
    ours = {"issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["HS256"], "secret_env": SECRET_ENV}
    changed = {
        "server": {
            **{key: value for key, value in server.items() if key not in _DEPLOYMENT | {"hsts_seconds"}},
            "public_origin": public_origin,
        },
        "admin": {"port": 0},
        "fal": {
            **{key: value for key, value in fal.items() if key not in {"backup_queue_origin", "ca_file"}},
            "queue_origin": addresses.queue,
            "run_origin": addresses.run,
            "rest_origin": addresses.rest,
        },
        "sessions": [*own, ours],
        "ledger": {**{key: value for key, value in ledger.items() if key != "kind"}, "path": ":memory:"},
    }
    return {**{key: value for key, value in document.items() if key != "store"}, **changed}


def _environment(document: Mapping[str, object], given: Mapping[str, str], upstream: Upstream) -> dict[str, str]:
    """Returns *given* without real keys of fal, and with a value for each secret that *document* names."""
    own_values = {name: value for name, value in given.items() if not name.startswith("FAL_KEY")}
    names = {"FAL_PROXY_HANDLE_SECRETS", "FAL_PROXY_WEBHOOK_SECRETS", *_variables(document)}
    made = {
        name: _made_up(name)
        for name in sorted(names)
        if not own_values.get(name) and not own_values.get(f"{name}_FILE")
    }
    return {**own_values, **made, "FAL_KEY": upstream.fal_key, SECRET_ENV: upstream.token_secret}


def _made_up(name: str) -> str:
    if name == "FAL_PROXY_WEBHOOK_SECRETS":
        return f"whsec_{secrets.token_hex(32)}"
    return secrets.token_urlsafe(48)


def _variables(value: object) -> Iterator[str]:
    """Yields the variables that keys like `secret_env` name, at any depth."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key.endswith("_env") and isinstance(item, str):
                yield item
            yield from _variables(item)
    elif isinstance(value, list):
        for item in value:
            yield from _variables(item)


def _table(document: Mapping[str, object], name: str) -> Mapping[str, object]:
    table = document.get(name, {})
    return table if isinstance(table, Mapping) else {}

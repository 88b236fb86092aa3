"""Tests of `fal-proxy check --live` against the sandbox."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import pytest

from proxy.app.live_checks import check_live
from proxy.app.setup.components import build_components
from proxy.config.loader import read
from proxy.demo.demo import sandbox
from proxy.sandbox.settings import SandboxSettings

KEY = "key-id:" + secrets.token_hex(16)
ENVIRON = {
    "FAL_KEY": KEY,
    "SESSION_SECRET": secrets.token_urlsafe(48),
    "FAL_PROXY_HANDLE_SECRETS": secrets.token_urlsafe(48),
    "FAL_PROXY_REDIS_URL": "redis://127.0.0.1:1/0",
}
NOWHERE = "http://127.0.0.1:1"


async def problems(folder: Path, **sections: dict[str, Any]) -> dict[str, str]:
    """Returns the problems of a small configuration with *sections*, by key."""
    document = {
        "server": {"public_origin": "http://127.0.0.1"},
        "sessions": [{"issuer": "app", "audience": "gateway", "algorithms": ["HS256"], "secret_env": "SESSION_SECRET"}],
        "endpoints": [{"id": "fal-ai/hyper-sdxl/image-to-image"}],
        **sections,
    }
    components = build_components(read(document, ENVIRON, base=folder))
    return {problem.key: problem.message for problem in await check_live(components)}


@pytest.mark.parametrize(
    ("accepted", "expected"), [(KEY, set()), ("other:" + "0" * 32, {"FAL_KEY"})], ids=["good", "bad"]
)
async def test_the_key_is_checked_without_a_job(tmp_path: Path, accepted: str, expected: set[str]) -> None:
    """A key that fal refuses is a problem; a good one is none."""
    async with sandbox(SandboxSettings(keys=frozenset({accepted}))) as origins:
        fal = {"queue_origin": origins.queue, "run_origin": origins.run, "rest_origin": origins.rest}

        assert set(await problems(tmp_path, fal=fal)) == expected


async def test_all_services_are_checked_at_once(tmp_path: Path) -> None:
    """Each origin of fal, the store and the ledger's folder has a problem of its own."""
    found = await problems(
        tmp_path,
        fal={"queue_origin": NOWHERE, "run_origin": NOWHERE, "rest_origin": NOWHERE},
        store={"kind": "redis"},
        ledger={"path": "no/such/folder/ledger.db"},
    )

    assert set(found) == {"fal.queue_origin", "fal.run_origin", "fal.rest_origin", "store.url_env", "ledger.path"}
    assert "does not exist" in found["ledger.path"]


async def test_key_sets_are_fetched(tmp_path: Path) -> None:
    """An identity provider that does not answer is a problem with its address."""
    sessions = [{"issuer": "app", "audience": "a", "algorithms": ["RS256"], "jwks_url": f"{NOWHERE}/jwks.json"}]
    async with sandbox(SandboxSettings(keys=frozenset({KEY}))) as origins:
        fal = {"queue_origin": origins.queue, "run_origin": origins.run, "rest_origin": origins.rest}
        document: dict[str, Any] = {"fal": fal, "sessions": sessions}
        found = await problems(tmp_path, **document)

    assert set(found) == {"sessions"}
    assert f"{NOWHERE}/jwks.json" in found["sessions"]

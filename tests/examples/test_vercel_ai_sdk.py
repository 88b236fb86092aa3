from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.node_programs import EXAMPLES, installed, run_node

from proxy.testing import FalGateway


@pytest.fixture
def fal_gateway_config() -> Path:
    return EXAMPLES / "vercel-ai-sdk" / "fal-proxy.toml"


def test_the_sdk_makes_a_picture(fal_gateway: FalGateway, tmp_path: Path) -> None:
    """The SDK gets a picture through the gateway, and fal sees the key of the gateway alone."""
    folder = installed("vercel-ai-sdk")
    for name in ("paint.js", "gateway.js", "package.json"):
        shutil.copy(folder / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(folder / "node_modules")
    done = run_node(
        "paint.js", "a boat", folder=tmp_path, FAL_PROXY_URL=fal_gateway.proxy_url, TOKEN=fal_gateway.token()
    )

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "picture.jpg").read_bytes().startswith(b"\xff\xd8")
    assert fal_gateway.sandbox.counts.runs == 1
    assert [dict(request.headers)["authorization"] for request in fal_gateway.sandbox.requests] == ["accepted"]

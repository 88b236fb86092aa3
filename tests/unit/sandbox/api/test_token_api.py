from __future__ import annotations

import pytest
from support.sandbox import QUICK, client

from proxy.sandbox.app import create_sandbox


@pytest.mark.parametrize("path", ["/tokens", "/tokens/"])
async def test_the_older_route_returns_a_string(path: str) -> None:
    """The token is a bare JSON string, which the clients' default provider reads."""
    answer = await client(create_sandbox(QUICK).rest).post(path, json={"allowed_apps": ["x"], "token_expiration": 120})

    assert answer.status_code == 200
    assert answer.json().startswith("sandbox.")


@pytest.mark.parametrize(
    "body", [{"allowed_apps": ["fal-ai/x/realtime"], "duration": 120}, {"app": "fal-ai/x", "duration": 1}]
)
async def test_the_newer_route_returns_an_object(body: dict[str, object]) -> None:
    """The token is in an object, for a list of apps or one."""
    answer = await client(create_sandbox(QUICK).rest).post("/tokens/realtime", json=body)

    assert answer.json()["token"].startswith("sandbox.")


@pytest.mark.parametrize(
    "body",
    [{}, {"allowed_apps": []}, {"allowed_apps": [1]}, {"allowed_apps": ["x"], "duration": 0}, []],
    ids=str,
)
async def test_a_malformed_request_is_refused(body: object) -> None:
    """A malformed request is 422 in fal's shape."""
    answer = await client(create_sandbox(QUICK).rest).post("/tokens/realtime", json=body)

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][0] == "body"


async def test_a_token_for_a_malformed_app_is_refused() -> None:
    """A malformed app is 404 in fal's words."""
    answer = await client(create_sandbox(QUICK).rest).post("/tokens/realtime", json={"allowed_apps": ["x//y"]})

    assert answer.status_code == 404


async def test_a_token_requires_a_key() -> None:
    """A request without a key is 401."""
    assert (await client(create_sandbox(QUICK).rest, {}).post("/tokens/", json={})).status_code == 401

from __future__ import annotations

import pytest
from support.sandbox import Clock

from proxy.sandbox.tokens import Tokens


@pytest.mark.parametrize(
    ("app", "endpoint", "allowed"),
    [
        ("hyper-sdxl", "fal-ai/hyper-sdxl/image-to-image", True),
        ("fal-ai/hyper-sdxl", "fal-ai/hyper-sdxl", True),
        ("fal-ai/hyper-sdxl/realtime", "fal-ai/hyper-sdxl/image-to-image", True),
        ("fal-ai/hyper-sdxl", "other/hyper-sdxl", False),
        ("hyper", "fal-ai/hyper-sdxl", False),
        ("workflows/acme/poster", "workflows/acme/poster", True),
    ],
)
def test_a_token_is_valid_for_its_apps_only(app: str, endpoint: str, *, allowed: bool) -> None:
    """A token for an alias or a path is valid for the endpoints of that app and no other."""
    tokens = Tokens(clock=Clock())

    assert tokens.account(tokens.mint("alice", [app], 120), endpoint) == ("alice" if allowed else None)


def test_a_token_expires() -> None:
    """A token is valid until its expiry, and removed at the next mint."""
    clock = Clock()
    tokens = Tokens(clock=clock)
    token = tokens.mint("alice", ["x"], 120)

    clock.forward(119)
    assert tokens.account(token, "fal-ai/x") == "alice"
    clock.forward(1)
    assert tokens.account(token, "fal-ai/x") is None
    tokens.mint("bob", ["x"], 120)
    clock.forward(-60)
    assert tokens.account(token, "fal-ai/x") is None


def test_an_unknown_token_is_invalid() -> None:
    """Tokens are looked up and not parsed."""
    assert Tokens(clock=Clock()).account("sandbox.made-up", "fal-ai/x") is None

from __future__ import annotations

import pytest

from proxy.sandbox.accounts import Accounts
from proxy.sandbox.responses import FalError

CLOSED = Accounts(frozenset({"alice:secret", "bob:secret"}))
OPEN = Accounts(None)
NO_APP = 'Cannot access application "fal-ai/x". Authentication is required to access this application.'


@pytest.mark.parametrize("scheme", ["Key", "key", "KEY"])
def test_each_accepted_key_is_an_account(scheme: str) -> None:
    """An accepted key gets an account that is its own, stable, and does not show the key."""
    alice = CLOSED.authenticate([f"{scheme} alice:secret"])

    assert alice == CLOSED.authenticate(["Key alice:secret"])
    assert alice != CLOSED.authenticate(["Key bob:secret"])
    assert "alice" not in alice


def test_without_a_list_any_key_is_accepted() -> None:
    """With no keys configured, every non-empty Key credential is an account."""
    assert OPEN.authenticate(["Key whatever"]) != OPEN.authenticate(["Key other"])


@pytest.mark.parametrize(
    ("header", "app", "detail"),
    [
        ([], "fal-ai/x", NO_APP),
        ([], None, "Authorization header is required"),
        (["Key alice:secret", "Key alice:secret"], None, "Authorization header is required"),
        (["Bearer alice:secret"], "fal-ai/x", NO_APP),
        (["Key "], None, "Authorization header is required"),
        (["Key"], "fal-ai/x", NO_APP),
        (["Key alice:wrong"], "fal-ai/x", "No user found for Key ID and Secret"),
        (["Key alice:sécret"], "fal-ai/x", "No user found for Key ID and Secret"),
    ],
)
def test_what_is_no_key_gets_fals_401(header: list[str], app: str | None, detail: str) -> None:
    """A missing, doubled, foreign or wrong credential gets the 401 text fal's host of that kind answers."""
    with pytest.raises(FalError) as refused:
        CLOSED.authenticate(header, app=app)

    assert (refused.value.status, refused.value.body) == (401, {"detail": detail})


@pytest.mark.parametrize(
    ("authorization", "known"),
    [("Key alice:secret", True), ("Key nobody:secret", False), ("Bearer alice:secret", False), ("Key ", False)],
)
def test_the_journal_can_ask_whether_a_key_is_accepted(authorization: str, *, known: bool) -> None:
    """`knows` tells acceptance without raising."""
    assert CLOSED.accepts(authorization) is known

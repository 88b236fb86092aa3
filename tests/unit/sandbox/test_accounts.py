from __future__ import annotations

import pytest

from proxy.sandbox.accounts import Accounts, key_id
from proxy.sandbox.responses import FalError

CLOSED = Accounts(frozenset({"alice:secret", "bob:secret"}))
OPEN = Accounts(None)
NO_APP = 'Cannot access application "fal-ai/x". Authentication is required to access this application.'


@pytest.mark.parametrize("scheme", ["Key", "key", "KEY"])
def test_each_accepted_key_is_an_account(scheme: str) -> None:
    """Every accepted key has an account of its own whose name is stable and does not contain the key."""
    alice = CLOSED.authenticate([f"{scheme} alice:secret"])

    assert alice == CLOSED.authenticate(["Key alice:secret"])
    assert alice != CLOSED.authenticate(["Key bob:secret"])
    assert "alice" not in alice


def test_without_a_list_any_key_is_accepted() -> None:
    """Without configured keys every non-empty key is an account."""
    assert OPEN.authenticate(["Key some"]) != OPEN.authenticate(["Key other"])


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
def test_an_invalid_credential_gets_fals_401(header: list[str], app: str | None, detail: str) -> None:
    """A missing, doubled, malformed or unknown credential gets the 401 of fal's host of that kind."""
    with pytest.raises(FalError) as refused:
        CLOSED.authenticate(header, app=app)

    assert (refused.value.status, refused.value.body) == (401, {"detail": detail})


@pytest.mark.parametrize(
    ("authorization", "known"),
    [("Key alice:secret", True), ("Key mallory:secret", False), ("Bearer alice:secret", False), ("Key ", False)],
)
def test_accepts_is_authenticate_without_an_error(authorization: str, *, known: bool) -> None:
    """The method `accepts` returns whether a credential is valid and never raises."""
    assert CLOSED.accepts(authorization) is known


@pytest.mark.parametrize(
    ("authorization", "name"),
    [("Key a:b", "a"), ("key  a:b:c", "a"), ("Key ab", ""), ("Bearer a:b", ""), ("", "")],
)
def test_the_id_of_a_key(authorization: str, name: str) -> None:
    """A key without a colon has none: its text is secret as a whole."""
    assert key_id(authorization) == name

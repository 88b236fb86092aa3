from __future__ import annotations

import pytest

from proxy.auth import user_names
from proxy.auth.caller import Caller, caller_key
from proxy.auth.user_names import UserNames


def caller(subject: str) -> Caller:
    return Caller("https://a.test", subject, caller_key("https://a.test", subject), frozenset(), 0.0, {})


def test_names_are_found_by_the_key_in_stores() -> None:
    """A caller who was seen is found, others are not, and nothing is left after `clear`."""
    names = UserNames(lambda key: f"stored-{key}")
    for subject in ("alice", "bob", "alice"):
        names.record(caller(subject))
    key = f"stored-{caller('alice').key}"
    found = names.find([key, caller("bob").key, "unknown"])
    names.clear()

    assert found == {key: ("https://a.test", "alice")}
    assert names.find([key]) == {}


def test_the_oldest_name_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of names has a bound."""
    monkeypatch.setattr(user_names, "MAX_NAMES", 2)
    names = UserNames(lambda key: key)
    for subject in ("alice", "bob", "carol"):
        names.record(caller(subject))

    assert [subject for _, subject in names.find([caller(s).key for s in ("alice", "bob", "carol")]).values()] == [
        "bob",
        "carol",
    ]

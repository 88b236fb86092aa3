"""Tests of old names of keys and values."""

from __future__ import annotations

import pytest

from proxy.config import renamed_keys
from proxy.config.renamed_keys import RENAMED_KEYS, Successor, rename
from proxy.errors import Problem


@pytest.mark.parametrize(
    ("section", "old", "new"),
    [(section, old, keys.key) for section, table in RENAMED_KEYS.items() for old, keys in table.items()],
)
def test_an_old_key_names_its_successor(section: str, old: str, new: str) -> None:
    """The value is checked under the new name, and the problem gives it."""
    problems: list[Problem] = []
    warnings: list[Problem] = []

    assert rename(section, {old: "x"}, "at", problems=problems, warnings=warnings) == {new: "x"}
    assert [*problems, *warnings] == [Problem(f"at.{old}", f'is now "{new}"')]


def test_an_old_value_names_its_successor() -> None:
    """The value "ours" of webhooks.mode is an error that gives "gateway"."""
    problems: list[Problem] = []

    assert rename("webhooks", {"mode": "ours"}, "webhooks", problems=problems, warnings=[]) == {"mode": "gateway"}
    assert problems == [Problem("webhooks.mode", 'the value "ours" is now "gateway"')]


def test_an_accepted_old_key_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """A successor with a conversion takes the old value, and only warns."""
    monkeypatch.setattr(renamed_keys, "RENAMED_KEYS", {"s": {"one": Successor("many", lambda value: [value])}})
    problems: list[Problem] = []
    warnings: list[Problem] = []

    assert rename("s", {"one": 1}, "s", problems=problems, warnings=warnings) == {"many": [1]}
    assert (problems, warnings) == ([], [Problem("s.one", 'is now "many"')])


def test_old_and_new_name_together_are_a_problem() -> None:
    """The new key wins, and the old one is reported."""
    problems: list[Problem] = []
    table = {"when_away": "deny", "on_store_error": "allow"}

    assert rename("limits", table, "limits[0]", problems=problems, warnings=[]) == {"on_store_error": "allow"}
    assert [problem.key for problem in problems] == ["limits[0].when_away"]

from __future__ import annotations

from pathlib import Path

import pytest
from support.in_process_gateway import ENVIRON, FAL_KEY, document

from proxy.app.setup.components import build_components
from proxy.app.setup.upstream.fal_keys import build_fal_keys
from proxy.config.loader import read
from proxy.errors import Problem
from proxy.upstream.account.fal_key import FalKey

SPARE = "spare-id:spare-secret-77aa"


def built(listed: str | None, first: str | None = FAL_KEY) -> tuple[tuple[FalKey, ...], list[Problem]]:
    given = {"FAL_KEY": first, "FAL_KEYS": listed}
    environ = {name: value for name, value in given.items() if value is not None}
    problems: list[Problem] = []
    return build_fal_keys(read(document(), environ, base=Path()), problems), problems


def test_one_key_has_no_alias() -> None:
    """As in every configuration of before."""
    assert built(None) == ((FalKey(FAL_KEY),), [])


def test_a_list_adds_keys_with_aliases_and_weights() -> None:
    """One a line, beside comments and empty lines."""
    keys, problems = built(f"# two accounts\n\n spare={SPARE};3 \nold=old-id:old-secret-1;0\n")

    assert keys == (FalKey(FAL_KEY), FalKey(SPARE, "spare", 3), FalKey("old-id:old-secret-1", "old", 0))
    assert problems == []


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (f"new={SPARE}\n{FAL_KEY};0", (FalKey(FAL_KEY, "", 0), FalKey(SPARE, "new"))),
        (f"new={SPARE}", (FalKey(SPARE, "new"),)),
    ],
)
def test_a_list_alone_is_enough(listed: str, expected: tuple[FalKey, ...]) -> None:
    """The line without an alias is the key that handles do not name."""
    assert built(listed, None) == (expected, [])


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ("spare", "line 1 is not"),
        (f"# x\nUpper={SPARE}; 1", "line 2 is not"),
        (f"spare={SPARE};101", "line 1 is not"),
        (f"default={SPARE}", "line 1: default is"),
        (SPARE, "without an alias"),
        (f"a={SPARE}\na=other-id:other-secret", "two keys have the alias a"),
        (f"a={FAL_KEY}", "twice"),
        ("\n".join(f"k{number}=id-{number}:secret-{number}" for number in range(16)), "at most 16"),
        ("", "has no FAL_KEYS"),
    ],
)
def test_a_bad_list_is_named_without_its_keys(listed: str, words: str) -> None:
    """The message has the number of the line or the alias."""
    keys, problems = built(listed)

    assert keys == ()
    assert [problem.key for problem in problems] == ["FAL_KEYS"]
    assert words in problems[0].message
    assert "-secret" not in problems[0].message


def test_one_key_must_take_new_jobs() -> None:
    """A list of keys for reads alone would refuse every submit."""
    _, problems = built(f"a={SPARE};0", None)

    assert "weight above 0" in problems[0].message


def test_the_list_comes_from_a_file_too(tmp_path: Path) -> None:
    """FAL_KEYS_FILE names it, relative to the configuration's folder."""
    (tmp_path / "keys").write_text(f"spare={SPARE}\n")
    components = build_components(read(document(), {**ENVIRON, "FAL_KEYS_FILE": "keys"}, base=tmp_path))

    assert [key.alias for key in components.fal_keys] == ["", "spare"]
    assert set(components.fal_secrets) == {FAL_KEY, FAL_KEY.partition(":")[2], SPARE, "spare-secret-77aa"}

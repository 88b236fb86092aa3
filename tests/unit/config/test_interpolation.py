"""Tests of references to the environment in strings of the file."""

from __future__ import annotations

import pytest

from proxy.config.interpolation import interpolate
from proxy.errors import Problem


def replace(value: object, **environ: str) -> tuple[object, list[Problem]]:
    problems: list[Problem] = []
    return interpolate(value, environ, "server", problems), problems


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://${HOST}", "https://a.test"),
        ("${HOST}:${PORT:-80}", "a.test:80"),
        ("${EMPTY:-x}", "x"),
        ("${UNSET:-}", ""),
        ("$${HOST}", "${HOST}"),
        ("$HOST costs $5", "$HOST costs $5"),
        ("no reference", "no reference"),
    ],
)
def test_a_reference_is_replaced(text: str, expected: str) -> None:
    """A variable is `${NAME}`, `:-` gives a default for an unset or empty one, `$${` is literal."""
    assert replace({"a": text}, HOST="a.test", EMPTY="") == ({"a": expected}, [])


def test_tables_and_lists_are_searched() -> None:
    """A reference is replaced at any depth; values that are no strings stay."""
    assert replace({"a": [{"b": "${X}"}], "n": 1, "t": True}, X="y") == ({"a": [{"b": "y"}], "n": 1, "t": True}, [])


@pytest.mark.parametrize(
    ("text", "words"), [("${GONE}", "the environment has no GONE"), ("${not a name}", "is not followed by NAME}")]
)
def test_an_unresolved_reference_is_a_problem_at_its_place(text: str, words: str) -> None:
    """The string is left out, and the problem has its place."""
    value, problems = replace({"a": ["x", text], "b": 1})

    assert value == {"a": ["x"], "b": 1}
    assert [problem.key for problem in problems] == ["server.a[1]"]
    assert words in problems[0].message

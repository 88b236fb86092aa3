"""Tests of the checker of names and prose."""

from __future__ import annotations

import pytest
from style import check_docstring, check_markdown, check_python, is_banned

LONG = "This sentence has " + "far " * 25 + "too many words."


@pytest.mark.parametrize(
    ("docstring", "problem"),
    [
        ("*limit* is a number.", 'opens with "*l"'),
        ("`limit` is a number.", 'opens with "`"'),
        ("Whether it is open.", 'opens with "Whether"'),
        ("A" * 101, "101 characters"),
        ("Reads a file.\n\nThen whoever asks gets it.", 'banned word "whoever"'),
        ("Reads a file and is told its size.", 'banned word "is told"'),
        ("The gate reads a file.", 'banned word "The gate"'),
        (f"Reads a file.\n\n{LONG}", "sentence of 31 words"),
    ],
)
def test_a_bad_docstring_is_found(docstring: str, problem: str) -> None:
    """Each rule finds its problem, and nothing else."""
    (finding,) = check_docstring(docstring, 1)

    assert problem in finding.problem


@pytest.mark.parametrize(
    "docstring",
    [
        "Returns the size of a file.\n\nRaises OSError where there is none, e.g. after a restart.",
        "The gateway of the app.",
        "The list of words:\n\n- one that has a few words in it;\n- and another one that has a few words in it, too;\n"
        "- and a third one that has words in it.",
        "Yields `whoever said` and https://example.com/whoever/said.",
    ],
)
def test_a_good_docstring_passes(docstring: str) -> None:
    """Items of a list are sentences of their own; code and addresses are no prose."""
    assert list(check_docstring(docstring, 1)) == []


def test_a_finding_has_its_line() -> None:
    """The line is that of the word or of the start of the sentence."""
    found = list(check_docstring(f"Reads.\n\nFine.\nNobody reads. {LONG}", 10))

    assert [finding.line for finding in found] == [13, 13]


def test_a_module_is_checked_throughout() -> None:
    """Docstrings, comments, messages and names are checked; a mere read of a name is not."""
    source = """\
\"\"\"What this is.\"\"\"

# Nobody knows
# why.
def size_of(told):
    for named in told:
        raise ValueError("somebody said so")
    return other.kept
"""
    found = sorted(check_python(source))

    assert [finding.line for finding in found] == [1, 3, 5, 5, 6, 7]


@pytest.mark.parametrize("name", ["said", "_told", "Door", "usage_of"])
def test_a_banned_name(name: str) -> None:
    """Names of events, metaphors, and functions that end in `_of`."""
    assert is_banned(name)
    assert not is_banned("response")
    assert not is_banned("_OF_ITS_MOMENT")


def test_a_page_is_checked_outside_of_code() -> None:
    """Fences, tables and headings are no prose, and the target of a link is none."""
    page = "# Whoever\n\n```\nnobody\n```\n\n| nobody |\n\nSee [this](whoever.md).\n\nNobody is here.\n"

    assert [(finding.line, finding.problem) for finding in check_markdown(page)] == [(11, 'banned word "Nobody"')]

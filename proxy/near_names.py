"""Near names for a misspelt word in an error message."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def near_name(word: str, names: Iterable[str]) -> str | None:
    """Returns the one of *names* that is most like *word*, None where none is like it."""
    return next(iter(get_close_matches(word, sorted(names), n=1)), None)


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Returns `; did you mean "<name>"?` to be put behind a message, or an empty text."""
    name = near_name(word, names)
    return "" if name is None else f'; did you mean "{name}"?'

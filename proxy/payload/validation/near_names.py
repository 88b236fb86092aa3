"""Near names for a misspelt one, for messages."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

MAX_NAMES = 200  # difflib takes about 10 us a name


def near_name(name: str, names: Iterable[str]) -> str:
    """Returns "; did you mean x?" for the one of *names* that is nearest to *name*, else an empty text."""
    close = get_close_matches(name[:64], [*names][:MAX_NAMES], n=1)
    return f"; did you mean {close[0]}?" if close else ""

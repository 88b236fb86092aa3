"""Result of a model call."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Output:
    """Answer of a model. *units*: billable units."""

    body: object
    units: float

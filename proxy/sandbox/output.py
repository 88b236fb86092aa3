from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Output:
    """A model's answer; *units* are billable units."""

    body: object
    units: float

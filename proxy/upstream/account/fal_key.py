"""Key of fal: its text, its alias and its share of new calls."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

DEFAULT = "default"  # name of the key without an alias, in metrics and the journal
MAX_WEIGHT = 100
_DOMAIN = b"fal-auth-proxy fal key 1 "


@dataclass(frozen=True, slots=True)
class FalKey:
    """Key of fal. *alias* is "" for the one without; *weight* 0: no new calls, only those of its jobs."""

    text: str = field(repr=False)
    alias: str = ""
    weight: int = 1

    @property
    def label(self) -> str:
        """Name for operators."""
        return self.alias or DEFAULT

    @property
    def digest(self) -> str:
        """Name that workers share, which is another one where the alias gets another key."""
        return hashlib.sha256(_DOMAIN + self.text.encode("ascii")).hexdigest()[:16]


def secrets(keys: Iterable[FalKey]) -> tuple[str, ...]:
    """Returns all that no response and no log may hold: each key, and its secret half."""
    return tuple(part for key in keys for part in (key.text, key.text.rpartition(":")[2]))


def turns(keys: Iterable[FalKey]) -> tuple[str, ...]:
    """Returns aliases in the order of new calls, each as often as its weight, evenly mixed.

    Smooth weighted round-robin, as nginx does it.
    """
    weights = {key.alias: key.weight for key in keys if key.weight}
    total, credit = sum(weights.values()), dict.fromkeys(weights, 0)
    order: list[str] = []
    for _ in range(total):
        for alias, weight in weights.items():
            credit[alias] += weight
        best = max(credit, key=credit.__getitem__)
        credit[best] -= total
        order.append(best)
    return tuple(order)

"""Claims of a verified token, read by dotted path, and the values an operator requires of them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from proxy.strict_json import Json

MAX_TEXT = 256  # characters of a claim that becomes a scope, a tier or a team
Scalar = str | int | float | bool


class _Missing:
    """Type of the mark for a claim that is not there; JSON has a null of its own."""


MISSING: Final = _Missing()


def find(members: Mapping[str, Json], path: str) -> Json | _Missing:
    """Returns the claim at the dotted *path*, or MISSING.

    A member whose own name has dots (`https://app.example.com/plan`) comes before a path into objects, and a longer
    such name before a shorter one.
    """
    if path in members:
        return members[path]
    dot = path.rfind(".")
    while dot > 0:
        inner = members.get(path[:dot])
        if isinstance(inner, dict) and (value := find(inner, path[dot + 1 :])) is not MISSING:
            return value
        dot = path.rfind(".", 0, dot)
    return MISSING


class Claims(Mapping[str, object]):
    """Read-only claims. A look-up takes a dotted path; lists come back as tuples, objects as Claims.

    *decisions* caches what rules over these claims returned, since the claims never change.
    """

    __slots__ = ("_members", "decisions")

    def __init__(self, members: Mapping[str, Json]) -> None:
        self._members = members
        self.decisions: dict[object, bool] = {}

    def __getitem__(self, path: str) -> object:
        value = find(self._members, path)
        if isinstance(value, _Missing):
            raise KeyError(path)
        return _frozen(value)

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and find(self._members, path) is not MISSING

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def as_json(self) -> dict[str, Json]:
        """Returns the members for an evaluator that copies its input; the caller must not change them."""
        return dict(self._members)


def _frozen(value: Json) -> object:
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    return Claims(value) if isinstance(value, dict) else value


def claim_text(value: object) -> str | None:
    """Returns the text of a scalar claim (`true`, `3`, `pro`) for tiers and teams, None for others."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return value if isinstance(value, str) else None


@dataclass(frozen=True, slots=True)
class Requirement:
    """Claim that a token must have: the value at *path*, or one of its items, is one of *allowed*."""

    path: str
    allowed: tuple[Scalar, ...]

    def is_met(self, claims: Mapping[str, Json]) -> bool:
        """Returns False where the claim is missing, too."""
        value = find(claims, self.path)
        values = value if isinstance(value, list) else [value]
        return any(_equal(item, allowed) for item in values for allowed in self.allowed)


def _equal(value: object, allowed: Scalar) -> bool:
    # In Python True equals 1; in JSON they are different values.
    if isinstance(value, bool) or isinstance(allowed, bool):
        return value is allowed
    return value == allowed

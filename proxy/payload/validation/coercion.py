"""Values that a schema wants in another type than they came in: numbers and booleans written as text.

HTML forms and older clients send `"4"` and `"true"`. Only spellings with one meaning are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from proxy.payload.validation.validator import Validator
from proxy.strict_json import Json

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})", re.ASCII)
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,17})?(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)
_FLAGS = {"true": True, "false": False}
_ALTERNATIVES = ("anyOf", "oneOf", "allOf")


class Coercion:
    """Replacement of text by the numbers and booleans that one schema wants, at any depth."""

    def __init__(self, schema: Json) -> None:
        self._validator = Validator(schema if isinstance(schema, dict | bool) else True)
        self._members: dict[str, Coercion] = {}
        self._items: Coercion | None = None
        for node in _objects(schema):
            properties = node.get("properties")
            for name, member in (properties if isinstance(properties, dict) else {}).items():
                self._members.setdefault(name, Coercion(member))
            if self._items is None and isinstance(node.get("items"), dict):
                self._items = Coercion(node["items"])

    def apply(self, value: Json) -> Json:
        """Returns *value*, with text replaced where only that makes it fit. Lists and objects change in place."""
        if isinstance(value, str):
            if self._validator.admits(value):
                return value
            return next((item for item in _from_text(value) if self._validator.admits(item)), value)
        if isinstance(value, dict):
            for name, member in self._members.items():
                if name in value:
                    value[name] = member.apply(value[name])
        elif isinstance(value, list) and self._items is not None:
            value[:] = map(self._items.apply, value)
        return value


def coerced_values(value: Json) -> Iterator[Json]:
    """Yields *value* in other types, the nearest first: text as a number, a number as text."""
    if isinstance(value, str):
        yield from _from_text(value)
    elif isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        yield int(value)
        yield str(int(value))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)


def _from_text(text: str) -> Iterator[Json]:
    if text in _FLAGS:
        yield _FLAGS[text]
    elif _INTEGER.fullmatch(text):
        yield int(text)
    elif _DECIMAL.fullmatch(text):
        yield float(text)


def _objects(schema: Json) -> Iterator[Mapping[str, Json]]:
    """Yields *schema* and the alternatives in it."""
    if isinstance(schema, dict):
        yield schema
        for keyword in _ALTERNATIVES:
            branches = schema.get(keyword)
            for branch in branches if isinstance(branches, list) else ():
                yield from _objects(branch)

"""References inside one document: JSON pointers in URI fragments (RFC 6901 section 6)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

from proxy.strict_json import Json

_MAX_CHAIN = 16
_EMBEDDED = ("$defs", "definitions")
_UNUSUAL = re.compile(r"[^A-Za-z0-9_.-]+")


class Definitions:
    """Values of one document by the references that name them. Nothing outside the document is read."""

    def __init__(self, root: Mapping[str, Json]) -> None:
        self._root = root
        self._inner: dict[str, Json] | None = None

    def find(self, reference: Json) -> Json:
        """Returns the value at *reference* (`#/components/schemas/A~1B`, `#/$defs/A%2FB`), None for none."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        # By RFC 6901 `%2F` separates; generators write it for a slash inside of a name.
        steps = [unquote(step) for step in reference[1:].split("/")[1:]]
        value = self._walk(steps)
        if value is None:
            value = self._walk(unquote(reference[1:]).split("/")[1:])
        if value is None and len(steps) == 2 and steps[0] in _EMBEDDED:
            value = self._embedded().get(_unescape(steps[1]))
        return value

    def _embedded(self) -> Mapping[str, Json]:
        """Returns the definitions inside of schemas, by name. Documents have copies of Pydantic's."""
        if self._inner is None:
            self._inner = {}
            waiting: list[Json] = [dict(self._root)]
            while waiting:
                node = waiting.pop()
                if isinstance(node, dict):
                    for keyword in _EMBEDDED:
                        definitions = node.get(keyword)
                        for name, schema in (definitions if isinstance(definitions, dict) else {}).items():
                            self._inner.setdefault(name, schema)
                    waiting.extend(node.values())
                elif isinstance(node, list):
                    waiting.extend(node)
        return self._inner

    def _walk(self, steps: list[str]) -> Json:
        node: Json = dict(self._root)
        for step in steps:
            name = _unescape(step)
            if isinstance(node, list):
                node = node[int(name)] if name.isascii() and name.isdigit() and int(name) < len(node) else None
            else:
                node = node.get(name) if isinstance(node, dict) else None
        return node

    def resolve(self, value: Json) -> Json:
        """Returns *value*, or what it refers to where it is only a reference (OpenAPI: bodies and responses)."""
        for _ in range(_MAX_CHAIN):
            if not isinstance(value, dict) or not isinstance(value.get("$ref"), str):
                return value
            value = self.find(value["$ref"])
        return None


def _unescape(step: str) -> str:
    return step.replace("~1", "/").replace("~0", "~")


def definition_name(reference: str, used: Mapping[str, str]) -> str:
    """Returns a name for *reference* of letters, digits, `_`, `.` and `-` that is not yet in *used*.

    `Output` is reserved for the output of the endpoint.
    """
    last = unquote(reference).rpartition("/")[2].replace("~1", "_").replace("~0", "_")
    base = _UNUSUAL.sub("_", last).strip("_") or "Definition"
    name, number = base, 2
    while name == "Output" or used.get(name, reference) != reference:
        name, number = f"{base}{number}", number + 1
    return name

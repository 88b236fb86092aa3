"""References inside one document: JSON pointers in URI fragments (RFC 6901 section 6)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

from proxy.strict_json import Json

_MAX_CHAIN = 16
_UNUSUAL = re.compile(r"[^A-Za-z0-9_.-]+")


class Definitions:
    """Values of one document by the references that name them. Nothing outside the document is read."""

    def __init__(self, root: Mapping[str, Json]) -> None:
        self._root = root

    def find(self, reference: Json) -> Json:
        """Returns the value at *reference* (`#/components/schemas/A~1B`, `#/$defs/A%2FB`), None for none."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        # By RFC 6901 `%2F` separates; generators write it for a slash inside of a name.
        inside = self._walk([unquote(step) for step in reference[1:].split("/")[1:]])
        return self._walk(unquote(reference[1:]).split("/")[1:]) if inside is None else inside

    def _walk(self, steps: list[str]) -> Json:
        node: Json = dict(self._root)
        for step in steps:
            name = step.replace("~1", "/").replace("~0", "~")
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

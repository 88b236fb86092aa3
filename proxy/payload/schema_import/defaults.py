"""Defaults that do not fit their own schema: coerced where the meaning is clear, else dropped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from proxy.payload.schema_import.keywords import SCHEMA, SCHEMA_LIST, SCHEMA_MAP
from proxy.payload.validation.coercion import coerced_values
from proxy.payload.validation.validator import Validator
from proxy.strict_json import Json


def repair_defaults(document: dict[str, Json]) -> list[str]:
    """Corrects the defaults in *document*, a JSON Schema with `$defs`. Returns a warning for each."""
    definitions = document.get("$defs")
    defs = definitions if isinstance(definitions, dict) else {}
    warnings: list[str] = []
    for place, schema in list(_schemas(document, "#")):
        if "default" not in schema:
            continue
        given = schema["default"]
        if _fits(given, schema, defs):
            continue
        for value in coerced_values(given):
            if _fits(value, schema, defs):
                schema["default"] = value
                warnings.append(f"{place}/default: {_shown(given)} does not fit and is taken as {_shown(value)}")
                break
        else:
            del schema["default"]
            warnings.append(f"{place}/default: {_shown(given)} does not fit and was dropped")
    return warnings


def _fits(value: Json, schema: Mapping[str, Json], defs: Mapping[str, Json]) -> bool:
    kind = schema.get("type")
    if isinstance(kind, str) and not schema.keys() - _PLAIN and kind in _PYTHON_TYPES:
        return isinstance(value, _PYTHON_TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
    own = {name: item for name, item in schema.items() if name != "$defs"}
    return not Validator({**own, "$defs": dict(defs)}).violations(value)


def _schemas(node: Json, place: str) -> Iterator[tuple[str, dict[str, Json]]]:
    """Yields each schema in *node* with its place. A property that is called `default` is not a keyword."""
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from _schemas(item, f"{place}/{index}")
    elif isinstance(node, dict):
        yield place, node
        for name, value in node.items():
            if name in SCHEMA_MAP | {"$defs"} and isinstance(value, dict):
                for key, item in value.items():
                    yield from _schemas(item, f"{place}/{key}" if name != "$defs" else f"#/$defs/{key}")
            elif name in SCHEMA | SCHEMA_LIST:
                yield from _schemas(value, f"{place}/{name}")


def _shown(value: Json) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:40] + "…"


_PYTHON_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}
_PLAIN = frozenset({"type", "title", "description", "default", "examples"})

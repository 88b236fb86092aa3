"""Conversion of one document's schemas to plain JSON Schema 2020-12 with `$defs`.

OpenAPI 3.0 and fal's own documents differ from the draft. A difference with one known meaning is rewritten.
Another one is dropped or replaced by "any value" with a warning, so that one fault does not cost the whole document.
"""

from __future__ import annotations

from collections.abc import Mapping

from jsonschema_rs import ValidationError

from proxy.payload.schema_import.keywords import ANNOTATIONS, CONSTRAINTS, MARKS, SCHEMA, SCHEMA_LIST, SCHEMA_MAP, TYPES
from proxy.payload.schema_import.references import Definitions, definition_name
from proxy.payload.validation.validator import Validator
from proxy.strict_json import Json

MAX_DEPTH = 24
_HANDLED = frozenset({"type", "$ref", "nullable", "example", "examples", "exclusiveMinimum", "exclusiveMaximum"})


class Converter:
    """Converted definitions of one document, and the warnings of the conversion."""

    def __init__(self, root: Mapping[str, Json]) -> None:
        self._source = Definitions(root)
        self._references: dict[str, str] = {}  # name in `$defs` -> reference of the document
        self._under_way: set[str] = set()
        self.definitions: dict[str, Json] = {}
        self.warnings: list[str] = []

    def convert(self, schema: Json, place: str, depth: int = 0) -> Json:
        """Returns *schema* in the draft's terms. *place* is where it stands, for warnings."""
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            return self._any_value(place, "is no schema")
        if depth > MAX_DEPTH:
            return self._any_value(place, f"is nested deeper than {MAX_DEPTH} schemas")
        converted = self._keywords(schema, place, depth)
        if "$ref" in schema:
            target = self._reference(schema["$ref"], place, depth)
            # Older Pydantic wraps a reference that has siblings in an allOf; the loader reads both forms alike.
            converted = {**target, **converted}
        return _nullable(converted) if schema.get("nullable") is True else converted

    def _keywords(self, schema: dict[str, Json], place: str, depth: int) -> dict[str, Json]:
        converted: dict[str, Json] = {}
        for name, value in schema.items():
            if name.startswith("x-") or name in MARKS:
                converted[name] = value
            elif name in SCHEMA | SCHEMA_LIST | SCHEMA_MAP:
                self._subschemas(converted, name, value, f"{place}/{name}", depth)
            elif name in _HANDLED:
                continue
            elif (is_valid := CONSTRAINTS.get(name)) is not None:
                self._constraint(converted, name, value, place, valid=is_valid(value))
            elif (is_valid := ANNOTATIONS.get(name)) is not None and is_valid(value):
                converted[name] = value
        self._type(converted, schema.get("type"), place)
        self._examples(converted, schema)
        self._exclusive_bounds(converted, schema, place)
        self._required(converted, place)
        return converted

    def _subschemas(self, converted: dict[str, Json], name: str, value: Json, place: str, depth: int) -> None:
        if name == "items" and isinstance(value, list):  # a tuple, as drafts before 2020-12 write it
            name = "prefixItems"
        if name in SCHEMA:
            converted[name] = self.convert(value, place, depth + 1)
        elif name in SCHEMA_LIST and isinstance(value, list) and value:
            converted[name] = [self.convert(item, f"{place}/{i}", depth + 1) for i, item in enumerate(value)]
        elif name in SCHEMA_MAP and isinstance(value, dict):
            converted[name] = {key: self.convert(item, f"{place}/{key}", depth + 1) for key, item in value.items()}
        else:
            self.warnings.append(f"{place}: has a form that is not supported and was dropped")

    def _constraint(self, converted: dict[str, Json], name: str, value: Json, place: str, *, valid: bool) -> None:
        if valid and (name != "pattern" or _compiles(value)):
            converted[name] = value
        elif value is not None and (number := _as_number(value)) is not None and CONSTRAINTS[name](number):
            converted[name] = number
            self.warnings.append(f"{place}/{name}: was text and is taken as the number {number}")
        else:
            self.warnings.append(f"{place}/{name}: has a value that is not supported and was dropped")

    def _type(self, converted: dict[str, Json], value: Json, place: str) -> None:
        names = value if isinstance(value, list) else [value]
        known: list[Json] = [name for name in TYPES if name in names]
        if known and all(isinstance(name, str) and name in TYPES for name in names):
            converted["type"] = known[0] if len(known) == 1 else known
        elif value is not None:
            self.warnings.append(f"{place}/type: is not a type of JSON and was dropped")

    def _examples(self, converted: dict[str, Json], schema: dict[str, Json]) -> None:
        listed = schema.get("examples", schema.get("example"))
        if isinstance(listed, dict) and "examples" in schema:  # OpenAPI: examples by name
            listed = [item.get("value") if isinstance(item, dict) else item for item in listed.values()]
        examples = listed if isinstance(listed, list) and "examples" in schema else [listed]
        given: list[Json] = [example for example in examples if example is not None]
        if given:
            converted["examples"] = given

    def _exclusive_bounds(self, converted: dict[str, Json], schema: dict[str, Json], place: str) -> None:
        # OpenAPI 3.0 has a flag here, JSON Schema a number; fal's documents write the number.
        for name, inclusive in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
            value = schema.get(name)
            if isinstance(value, bool):
                if value and inclusive in converted:
                    converted[name] = converted.pop(inclusive)
            elif value is not None:
                self._constraint(converted, name, value, place, valid=CONSTRAINTS[name](value))

    def _required(self, converted: dict[str, Json], place: str) -> None:
        properties, required = converted.get("properties"), converted.get("required")
        if not isinstance(required, list) or not isinstance(properties, dict):
            return
        for name in required:
            if name not in properties:
                self.warnings.append(f"{place}/required: names {name}, which is no property, and was corrected")
        converted["required"] = [name for name in required if name in properties]

    def _reference(self, reference: Json, place: str, depth: int) -> dict[str, Json]:
        target = self._source.find(reference)
        if not isinstance(reference, str) or target is None:
            return self._any_value(place, f"refers to {str(reference)[:80]}, which the document does not have")
        name = definition_name(reference, self._references)
        if name in self._under_way:
            return self._any_value(place, f"refers to {reference[:80]} in a circle")
        if name not in self.definitions:
            self._references[name] = reference
            self._under_way.add(name)
            self.definitions[name] = self.convert(target, f"#/$defs/{name}", depth + 1)
            self._under_way.remove(name)
        return {"$ref": f"#/$defs/{name}"}

    def _any_value(self, place: str, fault: str) -> dict[str, Json]:
        self.warnings.append(f"{place}: {fault}; any value is taken there")
        return {}


def _nullable(schema: dict[str, Json]) -> dict[str, Json]:
    """Returns *schema* with null as an alternative. Annotations stay outside, as in fal's newer documents."""
    branches = schema.get("anyOf")
    if isinstance(branches, list) and "type" not in schema:
        if any(isinstance(branch, dict) and branch.get("type") == "null" for branch in branches):
            return schema
        return {**schema, "anyOf": [*branches, {"type": "null"}]}
    outside = {name: value for name, value in schema.items() if name in ANNOTATIONS or name.startswith("x-")}
    outside |= {name: schema[name] for name in ("examples",) if name in schema}
    inside = {name: value for name, value in schema.items() if name not in outside}
    return {**outside, "anyOf": [inside, {"type": "null"}]} if inside else outside


def _as_number(value: Json) -> int | float | None:
    if not isinstance(value, str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return int(number) if number.is_integer() else number


def _compiles(pattern: Json) -> bool:
    try:
        Validator({"pattern": pattern})
    except ValidationError:
        return False
    return True

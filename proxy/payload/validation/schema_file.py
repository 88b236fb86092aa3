"""Schema files: the input and output of a model as JSON Schema, checked once at start.

A schema file is one plain JSON Schema (draft 2020-12) of a model's input: an object type with `properties`. The
`Output` of its `$defs` is the model's result. References go to the file's own `$defs`, never in a circle.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from jsonschema_rs import ValidationError

from proxy.errors import ConfigError, MalformedJson, Problem
from proxy.payload.validation.validator import Validator
from proxy.strict_json import Json, parse

SHIPPED = Path(__file__).parents[1] / "schemas"
DRAFT = "https://json-schema.org/draft/2020-12/schema"

# The time of an error message grows with both, and doubles with each level of paired alternatives.
MAX_SUBSCHEMAS = 2_000
MAX_DEPTH = 24

# Keywords that hold schemas (JSON Schema 2020-12, core sections 10 and 11).
_ONE = frozenset(
    {"additionalProperties", "contains", "else", "if", "items", "not"}
    | {"propertyNames", "then", "unevaluatedItems", "unevaluatedProperties"}
)
_LISTED = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED = frozenset({"dependentSchemas", "patternProperties", "properties"})

_DROPPED = frozenset({"$schema", "$comment", "$defs", "$ref"})
_REFUSED = frozenset({"$anchor", "$dynamicAnchor", "$dynamicRef", "$id", "$recursiveAnchor", "$recursiveRef"})
_ANNOTATIONS = frozenset({"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"})
_REFERENCE = re.compile(r"#/\$defs/([^/~%]+)")

_IMPORT = " (`fal-proxy schema import` converts a document of fal)"
_FORM = f'#: must have "type": "object" and name the fields of the input under "properties"{_IMPORT}'
_OUTPUT = "#/$defs/Output"
_META = Validator({"$ref": DRAFT}, effort=10_000_000)


@dataclass(frozen=True, slots=True)
class Schema:
    """Schemas of one endpoint without references. *output* is None where the file has none.

    *source* names the file in messages. *is_untyped*: nothing is known of the input, and anything is accepted.
    *warnings* are those of an import at start.
    """

    source: str
    input: dict[str, Json]
    output: Json = None
    is_untyped: bool = False
    warnings: tuple[str, ...] = ()

    def fields(self) -> dict[str, dict[str, Json]]:
        """Returns the schema of each property of the input."""
        properties = self.input["properties"]
        fields = properties.items() if isinstance(properties, dict) else ()
        return {name: _as_object(schema) for name, schema in fields}

    def required(self) -> list[str]:
        """Returns the required properties. fal also lists some with a default; those can be left out."""
        listed, fields = self.input.get("required"), self.fields()
        names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
        return [name for name in names if "default" not in fields.get(name, {})]


UNTYPED = Schema("any", {"type": "object", "properties": {}}, is_untyped=True)


def load_schema(path: Path) -> Schema:
    """Returns the schema in the file *path*. Raises ConfigError as `check_schema` does."""
    try:
        raw = path.read_bytes()
    except OSError as exc:
        raise ConfigError([Problem(str(path), f"cannot be read: {exc.strerror}")]) from exc
    return check_schema(str(path), raw)


def check_schema(source: str, raw: bytes) -> Schema:
    """Returns the schema in *raw*. Raises ConfigError: `<source>: <JSON pointer>: <message>` a fault."""
    try:
        return _checked(source, raw)
    except MalformedJson as exc:
        raise ConfigError([Problem(source, str(exc))]) from exc
    except _Fault as exc:
        raise ConfigError([Problem(source, message) for message in exc.messages]) from exc


class _Fault(Exception):
    def __init__(self, *messages: str) -> None:
        super().__init__(*messages)
        self.messages = messages


def _checked(source: str, raw: bytes) -> Schema:
    document = parse(raw)
    if not isinstance(document, dict):
        raise _Fault(_FORM)
    if faults := _META.violations(document):
        raise _Fault(*dict.fromkeys(f"{_pointer(fault['loc'][1:])}: {fault['msg']}" for fault in faults))
    if document.pop("$schema", DRAFT) != DRAFT:
        raise _Fault(f"#/$schema: must be {DRAFT}")
    # Only a base for references from elsewhere, of which there are none.
    document.pop("$id", None)
    inliner = _Inliner(document.get("$defs"))
    input_schema = inliner.inline(document, "#")
    if not isinstance(input_schema, dict) or not _is_typed_object(input_schema):
        raise _Fault(_FORM)
    output = inliner.inline({"$ref": _OUTPUT}, "#") if inliner.defines("Output") else None
    _check_patterns(input_schema, "#")
    _check_patterns(output, _OUTPUT)
    return Schema(source, input_schema, output)


def _is_typed_object(schema: dict[str, Json]) -> bool:
    return schema.get("type") == "object" and isinstance(schema.get("properties"), dict)


def _check_patterns(schema: Json, pointer: str) -> None:
    try:
        Validator(schema if isinstance(schema, dict) else True)
    except ValidationError as exc:
        # The draft takes any string for a pattern, so this is all that can still be wrong.
        problem = "is not a pattern that runs in linear time (no look-around, no back-reference, not huge)"
        raise _Fault(f"{pointer}{_pointer(exc.instance_path)[1:]}: {problem}") from exc


class _Inliner:
    """Copier of schemas that replaces each reference by its definition, within the bounds of this module."""

    def __init__(self, definitions: Json) -> None:
        self._definitions = definitions if isinstance(definitions, dict) else {}
        self._left = MAX_SUBSCHEMAS

    def defines(self, name: str) -> bool:
        return name in self._definitions

    def inline(self, schema: Json, pointer: str, depth: int = 0, trail: tuple[str, ...] = ()) -> Json:
        """Returns *schema* without references. *pointer* is its place, *trail* the definitions around it."""
        self._left -= 1
        if self._left < 0:
            raise _Fault(f"#: has more than {MAX_SUBSCHEMAS} subschemas once its references are replaced")
        if depth > MAX_DEPTH:
            raise _Fault(f"{pointer}: is nested deeper than {MAX_DEPTH} schemas")
        if not isinstance(schema, dict):
            return schema
        if refused := sorted(_REFUSED & schema.keys()):
            raise _Fault(f"{pointer}/{refused[0]}: is not supported in a schema file")

        def below(value: Json, *steps: str | int) -> Json:
            return self.inline(value, pointer + _pointer(steps)[1:], depth + 1, trail)

        copy = {keyword: _each(keyword, value, below) for keyword, value in schema.items() if keyword not in _DROPPED}
        if "$ref" in schema:
            return _beside(self._definition(schema["$ref"], pointer, depth, trail), copy)
        # Older Pydantic puts a reference that has a title or default beside it into an allOf of one.
        if isinstance(only := copy.get("allOf"), list) and len(only) == 1:
            return _beside(only[0], {keyword: value for keyword, value in copy.items() if keyword != "allOf"})
        return copy

    def _definition(self, reference: Json, pointer: str, depth: int, trail: tuple[str, ...]) -> Json:
        match = _REFERENCE.fullmatch(reference) if isinstance(reference, str) else None
        if match is None:
            raise _Fault(f"{pointer}/$ref: must be of the form #/$defs/<name>; nothing is fetched{_IMPORT}")
        name = match[1]
        if name not in self._definitions:
            raise _Fault(f"{pointer}/$ref: names a definition that the file does not have")
        if name in trail:
            raise _Fault(f"{pointer}/$ref: closes a circle of references, which is not supported")
        return self.inline(self._definitions[name], f"#/$defs/{name}", depth + 1, (*trail, name))


def _each(keyword: str, value: Json, below: Callable[..., Json]) -> Json:
    """Returns the *value* of *keyword* with *below* applied to each subschema in it."""
    if keyword in _ONE:
        return below(value, keyword)
    if keyword in _LISTED and isinstance(value, list):
        return [below(item, keyword, index) for index, item in enumerate(value)]
    if keyword in _NAMED and isinstance(value, dict):
        return {name: below(item, keyword, name) for name, item in value.items()}
    return value


def _beside(target: Json, siblings: dict[str, Json]) -> dict[str, Json]:
    """Returns *target* with the *siblings* of the reference to it; their titles and defaults win."""
    if isinstance(target, dict) and all(name in _ANNOTATIONS or name.startswith("x-") for name in siblings):
        return {**target, **siblings}
    others = siblings.get("allOf")
    return {**siblings, "allOf": [target, *(others if isinstance(others, list) else [])]}


def _as_object(schema: Json) -> dict[str, Json]:
    """Returns *schema* as an object; `true` and `false` are schemas too (core section 4.3.2)."""
    if isinstance(schema, dict):
        return schema
    return {} if schema else {"not": {}}


def _pointer(path: Iterable[str | int]) -> str:
    """Returns *path* as a JSON pointer (RFC 6901 section 6), without percent-encoding for readability."""
    return "#" + "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)

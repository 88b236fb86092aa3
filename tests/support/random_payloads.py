"""Random payloads for an input schema: known fields only, optional ones left out now and then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from proxy.strict_json import Json

Schema = Mapping[str, Any]


def random_payload(schema: Schema, dice: Random) -> dict[str, Json]:
    """Returns a payload with all required fields and half of the others."""
    return _object("", schema, schema, dice)


def _object(name: str, schema: Schema, root: Schema, dice: Random) -> dict[str, Json]:
    required = schema.get("required", ())
    fields = schema.get("properties", {}).items()
    return {name: _value(name, one, root, dice) for name, one in fields if name in required or dice.random() < 0.5}


def _value(name: str, schema: Schema, root: Schema, dice: Random) -> Json:
    if "$ref" in schema:
        found: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return _value(name, found, root, dice)
    if "enum" in schema or "const" in schema:
        value: Json = dice.choice(schema.get("enum") or [schema["const"]])
        return value
    for combination in ("anyOf", "oneOf", "allOf"):
        if combination in schema:
            return _value(name, dice.choice(schema[combination]), root, dice)
    return _KINDS[schema.get("type", "string")](name, schema, root, dice)


def _array(name: str, schema: Schema, root: Schema, dice: Random) -> list[Json]:
    length = dice.randint(schema.get("minItems", 1), min(schema.get("maxItems", 3), 3))
    return [_value(name, schema.get("items", {}), root, dice) for _ in range(length)]


def _integer(_name: str, schema: Schema, _root: Schema, dice: Random) -> int:
    return dice.randint(int(schema.get("minimum", 0)), int(schema.get("maximum", 64)))


def _number(_name: str, schema: Schema, _root: Schema, dice: Random) -> float:
    return round(dice.uniform(schema.get("minimum", 0.0), schema.get("maximum", 10.0)), 3)


def _text(name: str, _schema: Schema, _root: Schema, _dice: Random) -> str:
    kind = "mp3" if "audio" in name else "png"
    return f"https://files.example.com/one.{kind}" if "url" in name else "a light house"


_KINDS: Mapping[str, Callable[[str, Schema, Schema, Random], Json]] = {
    "array": _array,
    "boolean": lambda _name, _schema, _root, dice: dice.random() < 0.5,
    "integer": _integer,
    "null": lambda _name, _schema, _root, _dice: None,
    "number": _number,
    "object": _object,
    "string": _text,
}

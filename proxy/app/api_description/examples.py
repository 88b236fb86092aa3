"""Examples of an input, from the examples, defaults and choices in its schema."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.payload.validation.validator import Validator
from proxy.strict_json import Json

_OF_TYPE: Mapping[str, Json] = {
    "string": "text",
    "integer": 1,
    "number": 1,
    "boolean": True,
    "array": [],
    "object": {},
}


def input_example(schema: Json) -> Json:
    """Returns the required fields of *schema* with a value each, None where that gives no valid input."""
    if not isinstance(schema, dict):
        return None
    properties, required = schema.get("properties"), schema.get("required")
    fields = properties if isinstance(properties, dict) else {}
    example: dict[str, Json] = {}
    for name in required if isinstance(required, list) else ():
        if isinstance(name, str):
            example[name] = _value(name, fields.get(name))
    return example if Validator(schema).admits(example) else None


def _value(name: str, field: Json) -> Json:
    if not isinstance(field, dict):
        return "text"
    examples = field.get("examples")
    if isinstance(examples, list) and examples:
        return examples[0]
    if "default" in field or "const" in field:
        return field.get("default", field.get("const"))
    choices, branches = field.get("enum"), field.get("anyOf", field.get("oneOf"))
    if isinstance(choices, list) and choices:
        return choices[0]
    if isinstance(branches, list) and branches and "type" not in field:
        return _value(name, branches[0])
    kind = field.get("type")
    if kind == "string" and name.endswith("url"):
        return "https://example.com/file"
    if kind == "array" and name.endswith("urls"):
        return ["https://example.com/file"]
    return field.get("minimum", _OF_TYPE.get(str(kind)))

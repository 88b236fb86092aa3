"""Keywords of JSON Schema 2020-12 that a model's schema can use, and the forms their values may have.

Everything else in a document (stray `le`, `ge`, `step`, OpenAPI's `xml`) describes no value. Annotations of fal
(`x-fal-*`, MARKS) are kept as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from proxy.strict_json import Json

TYPES = ("string", "number", "integer", "boolean", "array", "object", "null")
MARKS = frozenset({"_fal_ui_field", "ui"})  # the kind of file a field is for
# Keywords that hold schemas.
SCHEMA = frozenset({"additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then"})
SCHEMA_LIST = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
SCHEMA_MAP = frozenset({"properties", "patternProperties", "dependentSchemas"})


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value: Json) -> bool:
    return isinstance(value, str)


def _is_flag(value: Json) -> bool:
    return isinstance(value, bool)


def _is_positive(value: Json) -> bool:
    return isinstance(value, int | float) and _is_number(value) and value > 0


def _is_choices(value: Json) -> bool:
    return isinstance(value, list) and bool(value)


def _is_names(value: Json) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_anything(value: Json) -> bool:
    return True


CONSTRAINTS: Mapping[str, Callable[[Json], bool]] = {
    "const": _is_anything,
    "enum": _is_choices,
    "exclusiveMaximum": _is_number,
    "exclusiveMinimum": _is_number,
    "format": _is_text,
    "maxContains": _is_count,
    "maxItems": _is_count,
    "maxLength": _is_count,
    "maxProperties": _is_count,
    "maximum": _is_number,
    "minContains": _is_count,
    "minItems": _is_count,
    "minLength": _is_count,
    "minProperties": _is_count,
    "minimum": _is_number,
    "multipleOf": _is_positive,
    "pattern": _is_text,
    "required": _is_names,
    "uniqueItems": _is_flag,
}
ANNOTATIONS: Mapping[str, Callable[[Json], bool]] = {
    "default": _is_anything,
    "deprecated": _is_flag,
    "description": _is_text,
    "readOnly": _is_flag,
    "title": _is_text,
    "writeOnly": _is_flag,
}

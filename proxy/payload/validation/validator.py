"""Validation of values against JSON Schema by jsonschema-rs, with errors in bounded time."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

import jsonschema_rs

from proxy.errors import FieldError
from proxy.payload.validation.error_messages import explain, field_error
from proxy.strict_json import Json

MAX_VIOLATIONS = 50

# Validation of the largest body takes milliseconds. Its errors take about 15 us for each value and alternative
# (anyOf, oneOf) that fails, all before the first one is returned. So this many are looked at.
MAX_ERROR_WORK = 4096
_FEW_ALTERNATIVES = 16
_STRING_UNIT = 16 * 1024

_TOO_LARGE = ("value_error", "Input does not fit its schema; it is too large to say where")


class Validator:
    """One compiled JSON Schema (draft 2020-12). Patterns run in linear time and nothing is ever fetched."""

    def __init__(self, schema: Mapping[str, Json] | bool, *, effort: int = MAX_ERROR_WORK) -> None:
        """Compiles *schema*. *effort*: values, times the alternatives in *schema*, that errors may look at.

        Raises jsonschema_rs.ValidationError where *schema* is not valid, or has a pattern beyond a linear engine.
        """
        whole: Json = schema if isinstance(schema, bool) else dict(schema)
        fields = whole.get("properties") if isinstance(whole, dict) else None
        self._fields = fields if isinstance(fields, dict) else {}
        self._compiled = _compiled(whole)
        self._effort = effort // max(_FEW_ALTERNATIVES, _alternatives(whole))

    def admits(self, value: Json) -> bool:
        """Returns whether *value* fits the schema."""
        return self._compiled.is_valid(value)

    def violations(self, value: Json) -> list[FieldError]:
        """Returns at most 50 errors of *value*. A field that is too large has one error without a place."""
        if self._compiled.is_valid(value):
            return []
        if _value_count(value, self._effort) > self._effort:
            return self._coarse_errors(value)[:MAX_VIOLATIONS]
        return list(islice(explain(self._compiled.iter_errors(value), value), MAX_VIOLATIONS))

    def _coarse_errors(self, value: Json) -> list[FieldError]:
        if not isinstance(value, dict):
            return [field_error([], *_TOO_LARGE)]
        small = _small_part(value, self._effort)
        large = self._fields.keys() & value.keys() - small.keys()
        errors = [
            error
            for error in explain(self._compiled.iter_errors(small), small)
            if not (error["type"] == "missing" and len(error["loc"]) == 2 and error["loc"][1] in large)
        ]
        for name, schema in self._fields.items():
            if name in large and not _compiled(schema).is_valid(value[name]):
                errors.append(field_error([name], *_TOO_LARGE))
        return errors or [field_error([], *_TOO_LARGE)]


def _compiled(schema: Json) -> jsonschema_rs.Validator:
    # Without a mask every error would carry the whole offending value as text.
    return jsonschema_rs.Draft202012Validator(
        schema if isinstance(schema, dict) else bool(schema),
        pattern_options=jsonschema_rs.RegexOptions(),
        offline=True,
        mask="…",
    )


def _alternatives(schema: Json) -> int:
    count, waiting = 0, [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            count += sum(len(branches) for k in ("anyOf", "oneOf") if isinstance(branches := node.get(k), list))
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
    return count


def _small_part(value: dict[str, Json], limit: int) -> dict[str, Json]:
    """Returns the first members of *value* that have no more than *limit* values together."""
    small: dict[str, Json] = {}
    for name, item in value.items():
        weight = _value_count(item, limit)
        if weight <= limit:
            small[name] = item
            limit -= weight
        if not limit:
            break
    return small


def _value_count(value: Json, limit: int) -> int:
    """Returns the number of values in *value*, up to *limit* and one. Each 16 KiB of a string count too."""
    weight, waiting = 0, [value]
    while waiting and weight <= limit:
        node = waiting.pop()
        weight += 1 + (len(node) // _STRING_UNIT if isinstance(node, str) else 0)
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, dict):
            waiting.extend(node.values())
    return weight

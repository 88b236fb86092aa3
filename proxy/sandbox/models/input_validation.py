"""Inputs checked by an endpoint's schema, with errors in the shape of fal's models."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from jsonschema_rs import Draft202012Validator, ValidationError, ValidationErrorKind

from proxy.sandbox.json_types import Json, JsonObject
from proxy.sandbox.responses import FalError

# Keyword of the schema -> `type` of the error (fal docs, model errors; Pydantic for the others).
_ERROR_TYPES: Mapping[str, str] = {
    "required": "missing",
    "type": "type_error",
    "minimum": "greater_than_equal",
    "maximum": "less_than_equal",
    "exclusiveMinimum": "greater_than",
    "exclusiveMaximum": "less_than",
    "multipleOf": "multiple_of",
    "minItems": "sequence_too_short",
    "maxItems": "sequence_too_long",
    "minLength": "string_too_short",
    "maxLength": "string_too_long",
    "pattern": "string_pattern_mismatch",
    "enum": "literal_error",
    "const": "literal_error",
}
MAX_ERRORS = 20


class InputValidator:
    """Checker of inputs. Without a usable schema it accepts every object."""

    def __init__(self, schema: JsonObject | None) -> None:
        self._schema = schema
        self._validator: Draft202012Validator | None = None
        self._built = False

    def check(self, payload: Json) -> JsonObject:
        """Returns *payload* without nulls at the top.

        Raises FalError 422 with every error, at most MAX_ERRORS.
        """
        if not isinstance(payload, dict):
            raise _error([_entry([], "Input should be a valid dictionary", "dict_type")])
        fields: JsonObject = {name: value for name, value in payload.items() if value is not None}
        errors = self._errors(fields)
        if errors:
            raise _error(errors)
        return fields

    def _errors(self, fields: JsonObject) -> list[JsonObject]:
        if not self._built:
            # Built at the first use: a folder may hold the schemas of every endpoint.
            self._validator, self._built = _build(self._schema), True
        if self._validator is None:
            return []
        return [_describe(error) for error in islice(self._validator.iter_errors(fields), MAX_ERRORS)]


def _build(schema: JsonObject | None) -> Draft202012Validator | None:
    if schema is None:
        return None
    try:
        # A masked message does not repeat the value, which may be a whole data URI.
        return Draft202012Validator(schema, offline=True, mask="value")
    except ValidationError:
        # A schema with an invalid keyword must not make its endpoint unusable.
        return None


def _describe(error: ValidationError) -> JsonObject:
    kind = error.kind
    location: list[Json] = list(error.instance_path)
    if isinstance(kind, ValidationErrorKind.Required):
        location.append(kind.property)
    return _entry(location, error.message, _ERROR_TYPES.get(kind.name, "value_error"))


def _entry(location: list[Json], message: str, kind: str) -> JsonObject:
    return {"loc": ["body", *location], "msg": message, "type": kind}


def _error(errors: list[JsonObject]) -> FalError:
    return FalError(422, {"detail": errors})

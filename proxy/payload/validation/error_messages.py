"""Errors of a value in fal's form: place, message and type."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from jsonschema_rs import ValidationError
from jsonschema_rs import ValidationErrorKind as Kind

from proxy.errors import FieldError
from proxy.strict_json import Json

_MAX_SHOWN = 64
_MAX_OPTIONS = 12

_LISTS = Kind.Enum | Kind.Constant
_NUMERIC = re.compile(r"\+?[0-9]+")

# JSON Schema type -> fal's (Pydantic's) error type, and the words of the message.
_TYPES: Mapping[str, tuple[str, str]] = {
    "integer": ("int_type", "a valid integer"),
    "number": ("float_type", "a valid number"),
    "string": ("string_type", "a valid string"),
    "boolean": ("bool_type", "a valid boolean"),
    "array": ("list_type", "a valid list"),
    "object": ("dict_type", "a valid object"),
    "null": ("none_required", "null"),
}

# Keyword -> fal's error type (docs, "Model errors"; Pydantic's where fal names none) and message.
_BOUNDS: Mapping[str, tuple[str, str]] = {
    "minimum": ("greater_than_equal", "Input should be greater than or equal to {}"),
    "exclusiveMinimum": ("greater_than", "Input should be greater than {}"),
    "maximum": ("less_than_equal", "Input should be less than or equal to {}"),
    "exclusiveMaximum": ("less_than", "Input should be less than {}"),
    "multipleOf": ("multiple_of", "Input should be a multiple of {}"),
    "minLength": ("string_too_short", "String should have at least {} characters"),
    "maxLength": ("string_too_long", "String should have at most {} characters"),
    "pattern": ("string_pattern_mismatch", "String should match pattern {}"),
    "minItems": ("sequence_too_short", "List should have at least {} items"),
    "maxItems": ("sequence_too_long", "List should have at most {} items"),
    "uniqueItems": ("value_error", "List should have no item twice"),
    "minProperties": ("value_error", "Object should have at least {} members"),
    "maxProperties": ("value_error", "Object should have at most {} members"),
    "propertyNames": ("value_error", "Object has a member whose name is not accepted"),
    "falseSchema": ("extra_forbidden", "This input is not accepted"),
}


def field_error(path: Sequence[str | int], error_type: str, message: str) -> FieldError:
    """Returns one entry of fal's `detail` list, for the value at *path* in the body. Long names are cut."""
    return FieldError(loc=["body", *map(_name, path)], msg=message, type=error_type)


def explain(errors: Iterable[ValidationError], value: Json) -> Iterator[FieldError]:
    """Yields the entries for *errors* of *value*. None repeats more than 64 characters of it."""
    for error in _distinct(errors):
        yield from _explain_one(error, value)


def _distinct(errors: Iterable[ValidationError]) -> Iterator[ValidationError]:
    """Yields *errors* without a type error beside the list of accepted values, which includes it."""
    errors = list(errors)
    listed = {tuple(error.instance_path) for error in errors if isinstance(error.kind, _LISTS)}
    for error in errors:
        if not isinstance(error.kind, Kind.Type) or tuple(error.instance_path) not in listed:
            yield error


def _explain_one(error: ValidationError, value: Json) -> Iterable[FieldError]:
    path, value_there = _walk(error.instance_path, value)
    match error.kind:
        case Kind.Required(name):
            return [field_error([*path, name], "missing", "Field required")]
        case Kind.AdditionalProperties(names) | Kind.UnevaluatedProperties(names):
            return [field_error([*path, name], *_BOUNDS["falseSchema"]) for name in names]
        case Kind.Type() | Kind.Enum() | Kind.Constant():
            return [_expected([error], path)]
        case Kind.AnyOf(branches) | Kind.OneOfNotValid(branches):
            here = error.instance_path
            candidates = [
                errors for errors in branches if not any(_wrong_kind(each, here, value_there) for each in errors)
            ]
            if candidates:
                closest: list[ValidationError] = min(candidates, key=_distance)
                return explain(closest, value)
            alternatives = chain.from_iterable(map(_distinct, branches))
            return [_expected([each for each in alternatives if each.instance_path == here], path)]
    keyword = error.kind.name
    error_type, message = _BOUNDS.get(keyword, ("value_error", f"Input does not satisfy `{keyword}` of its schema"))
    return [field_error(path, error_type, message.format(_shown(error.kind.value)) if "{" in message else message)]


def _walk(path: Iterable[str | int], value: Json) -> tuple[list[str | int], Json]:
    """Returns *path* as it is in *value*, and its value. jsonschema-rs makes the name `01` the number 1."""
    steps: list[str | int] = []
    for step in path:
        if isinstance(value, dict):
            name = step if isinstance(step, str) else _member_name(step, value)
            steps.append(name)
            value = value.get(name)
        else:
            steps.append(step)
            value = value[step] if isinstance(value, list) and isinstance(step, int) and step < len(value) else None
    return steps, value


def _member_name(number: int, members: Mapping[str, Json]) -> str:
    digits = str(number)
    alike = (name for name in members if _NUMERIC.fullmatch(name) and (name.lstrip("+0") or "0") == digits)
    return digits if digits in members else next(alike, digits)


def _distance(errors: list[ValidationError]) -> tuple[bool, int]:
    # In a tagged union a constant that differs marks the branches that were not meant.
    return any(isinstance(error.kind, _LISTS) for error in errors), len(errors)


def _wrong_kind(error: ValidationError, path: list[str | int], value: Json) -> bool:
    if error.instance_path != path:
        return False
    match error.kind:
        case Kind.Type():
            return True
        case Kind.Enum(options):
            return _kind(value) not in map(_kind, options)
        case Kind.Constant(expected):
            return _kind(value) != _kind(expected)
    return False


def _expected(errors: Iterable[ValidationError], path: Sequence[str | int]) -> FieldError:
    """Returns one entry with everything that *errors*, all at *path*, would accept instead."""
    types: set[str] = set()
    accepted: list[str] = []
    for error in errors:
        match error.kind:
            case Kind.Type(names):
                types.update(_TYPES[name][0] for name in names)
                accepted.extend(_TYPES[name][1] for name in sorted(names, key="null".__eq__))
            case Kind.Enum(choices):
                types.add("one_of")
                accepted.extend(map(_shown, choices))
            case Kind.Constant(choice):
                types.add("one_of")
                accepted.append(_shown(choice))
    types = types - {"none_required"} or types
    return field_error(path, types.pop() if len(types) == 1 else "value_error", f"Input should be {_either(accepted)}")


def _either(accepted: Iterable[str]) -> str:
    options = list(dict.fromkeys(accepted)) or ["left out"]
    if len(options) > _MAX_OPTIONS:
        return f"one of {', '.join(options[:_MAX_OPTIONS])} and {len(options) - _MAX_OPTIONS} more"
    return " or ".join(filter(None, [", ".join(options[:-1]), options[-1]]))


def _kind(value: object) -> type:
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def _shown(value: object) -> str:
    return _cut(json.dumps(value, ensure_ascii=False, default=str))


def _name(step: str | int) -> str | int:
    return _cut(step) if isinstance(step, str) else step


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"

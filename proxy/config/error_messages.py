"""Messages for problems of the file, in place of those of pydantic."""

from __future__ import annotations

import json
from collections.abc import Mapping

from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from proxy.config.units import format_amount, format_number
from proxy.config.value_types import Section, section_class
from proxy.errors import Problem
from proxy.near_names import did_you_mean

_Context = Mapping[str, object]
_MAX_REPEATED = 64  # characters of a value that a message repeats

# By pydantic's type of the error; `{...}` is filled from the error's context.
_MESSAGES = {
    "missing": "is required",
    "string_type": "must be a string",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least one item",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "path_type": "must be the path of a file",
    "ip_any_network": "must be a network, as in 10.0.0.0/8",
}
_BOUNDS: Mapping[str, tuple[str, str]] = {
    "greater_than": ("gt", "must be more than"),
    "greater_than_equal": ("ge", "must be at least"),
    "less_than": ("lt", "must be less than"),
    "less_than_equal": ("le", "must be at most"),
}


def to_problem(location: str, model: type[Section], detail: ErrorDetails) -> Problem:
    """Returns the problem that *detail* is, at its key in the file. *model* is the section at *location*."""
    owner: type[Section] = model
    field: FieldInfo | None = None
    name = ""
    for step in detail["loc"]:
        location += f"[{step}]" if isinstance(step, int) else f".{step}"
        if isinstance(step, str):
            name = step
            owner = (field and section_class(field.annotation)) or owner
            field = owner.model_fields.get(step)
    return Problem(location, _message(name, owner, field, detail))


def _message(name: str, owner: type[Section], field: FieldInfo | None, detail: ErrorDetails) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key{did_you_mean(name, owner.model_fields)}"
    if kind in ("literal_error", "enum"):
        return _choices(detail["input"], str(context["expected"]))
    if kind == "string_pattern_mismatch":
        return f"must look like {_examples(field)}{_near_example(detail['input'], field)}"
    if kind in ("tuple_type", "list_type"):
        return f"must be a list, as in {_as_list(detail['input'])}"
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        return f"{words} {_limit(name, context[bound])}"
    if kind in _MESSAGES:
        return _MESSAGES[kind].format(**context)
    return detail["msg"].removeprefix("Value error, ")


def _limit(name: str, limit: float) -> str:
    """Returns the number as it is written in the file.

    A key with a unit has the number in a larger unit before it.
    """
    written, words = f"{limit:.15g}", format_amount(name, limit)
    return written if words.partition(" ")[0] == format_number(limit) else f"{words} ({written})"


def _choices(value: object, expected: str) -> str:
    names = [name.strip("'") for name in expected.replace(" or ", ", ").split(", ")]
    listed = ", ".join(f'"{name}"' for name in names)
    return f"must be one of {listed}{did_you_mean(value, names) if isinstance(value, str) else ''}"


def _as_list(value: object) -> str:
    """Returns *value* as a list of the file, or an example of one."""
    short = isinstance(value, str) and len(value) <= _MAX_REPEATED
    return f"[{json.dumps(value)}]" if short else '["a", "b"]'


def _near_example(value: object, field: FieldInfo | None) -> str:
    examples = [str(example) for example in (field.examples if field and field.examples else ())]
    return did_you_mean(value, examples) if isinstance(value, str) else ""


def _examples(field: FieldInfo | None) -> str:
    examples = [f'"{example}"' for example in (field.examples if field and field.examples else ())]
    return " or ".join(examples) or "another form"

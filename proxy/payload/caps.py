"""Cap on one field: an upper limit written into each alternative of the field's schema."""

from __future__ import annotations

import re

import jsonschema_rs
from jsonschema_rs.canonical import Satisfiability

from proxy.strict_json import Json

# The measure that a cap bounds, by type of value.
_MEASURES = {"number": "maximum", "integer": "maximum", "string": "maxLength", "array": "maxItems"}
_NUMERAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")


class CapError(Exception):
    """A limit that cannot hold for a field."""


def with_cap(schema: dict[str, Json], limit: float) -> dict[str, Json]:
    """Returns *schema* with the *limit*: no larger number, no longer string or list.

    Choices that are numbers, or strings that spell one, are removed above *limit*. Null stays. Raises CapError where
    *limit* would bound only some of the values, or different measures of them, or leave none.
    """
    measures: set[str] = set()
    tighter = _with_limit(schema, limit, measures)
    if len(measures) != 1:
        raise CapError("the field is not always a number, always a string or always a list")
    if jsonschema_rs.canonicalize(tighter).satisfiability() == Satisfiability.NO:
        raise CapError("the schema accepts no value that small")
    return tighter


def _with_limit(schema: Json, limit: float, measures: set[str]) -> dict[str, Json]:
    """Returns *schema* with the *limit*, and adds the keywords that it was written into to *measures*."""
    if not isinstance(schema, dict):
        raise CapError("the schema takes anything there")
    choices = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if isinstance(choices, list):
        measures.add("maximum")
        return {**schema, "enum": [choice for choice in choices if choice is None or _amount(choice) <= limit]}
    branches = schema.get("anyOf", schema.get("oneOf"))
    if isinstance(branches, list) and "type" not in schema:
        keyword = "anyOf" if "anyOf" in schema else "oneOf"
        return {**schema, keyword: [_with_limit(branch, limit, measures) for branch in branches]}
    return _bounded(schema, limit, measures)


def _bounded(schema: dict[str, Json], limit: float, measures: set[str]) -> dict[str, Json]:
    types = schema.get("type")
    tighter = schema
    for name in types if isinstance(types, list) else [types]:
        if name == "null":
            continue
        if (measure := _MEASURES.get(str(name))) is None:
            raise CapError("the field is not always a number, a string or a list")
        if measure != "maximum" and not (limit >= 0 and limit == int(limit)):
            raise CapError("a number of characters or items must be a whole one")
        present = schema.get(measure)
        least = min(present, limit) if isinstance(present, int | float) else limit
        tighter = {**tighter, measure: least if measure == "maximum" else int(least)}
        measures.add(measure)
    return tighter


def _amount(choice: Json) -> float:
    if isinstance(choice, int | float) and not isinstance(choice, bool):
        return choice
    if isinstance(choice, str) and _NUMERAL.fullmatch(choice):
        return float(choice)
    raise CapError("not every choice of the field is a number")

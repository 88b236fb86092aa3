"""A cap on one field: its schema, with the most a caller may ask for written into each of its alternatives."""

from __future__ import annotations

import re

import jsonschema_rs
from jsonschema_rs.canonical import Satisfiability

from proxy.strict_json import Json

# What a cap bounds of a value of each type.
_MEASURES = {"number": "maximum", "integer": "maximum", "string": "maxLength", "array": "maxItems"}
_NUMERAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")


class Uncappable(Exception):
    """Why *limit* cannot hold for a field."""


def capped(schema: dict[str, Json], limit: float) -> dict[str, Json]:
    """*schema* made tighter, never looser: no number above *limit*, no string or list longer than it.

    Of choices that are numbers, or strings that spell one, those above *limit* are gone; null stays. Raises Uncappable
    where *limit* would bound only some of the values, or different things of them, or leave none.
    """
    measures: set[str] = set()
    tighter = _tightened(schema, limit, measures)
    if len(measures) != 1:
        raise Uncappable("the field is not always a number, always a string or always a list")
    if jsonschema_rs.canonicalize(tighter).satisfiability() == Satisfiability.NO:
        raise Uncappable("the schema accepts no value that small")
    return tighter


def _tightened(schema: Json, limit: float, measures: set[str]) -> dict[str, Json]:
    """*measures* takes down which keywords the limit went into."""
    if not isinstance(schema, dict):
        raise Uncappable("the schema takes anything there")
    choices = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if isinstance(choices, list):
        measures.add("maximum")
        return {**schema, "enum": [choice for choice in choices if choice is None or _amount(choice) <= limit]}
    branches = schema.get("anyOf", schema.get("oneOf"))
    if isinstance(branches, list) and "type" not in schema:
        keyword = "anyOf" if "anyOf" in schema else "oneOf"
        return {**schema, keyword: [_tightened(branch, limit, measures) for branch in branches]}
    return _bounded(schema, limit, measures)


def _bounded(schema: dict[str, Json], limit: float, measures: set[str]) -> dict[str, Json]:
    types = schema.get("type")
    tighter = schema
    for name in types if isinstance(types, list) else [types]:
        if name == "null":
            continue
        if (measure := _MEASURES.get(str(name))) is None:
            raise Uncappable("the field is not always a number, a string or a list")
        if measure != "maximum" and not (limit >= 0 and limit == int(limit)):
            raise Uncappable("a number of characters or items must be a whole one")
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
    raise Uncappable("not every choice of the field is a number")

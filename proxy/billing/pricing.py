"""Prices of requests: a number, or the operator's CEL expression over the payload that would be sent.

The payload is `input`. A field that the caller leaves out, or sends as null, has the default of its schema.
docs/pricing.md describes the language.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache

from proxy.billing.ledger.money import MAX_PRICE, Micros, micros
from proxy.billing.price_functions import PRICE_FUNCTIONS
from proxy.errors import ExpressionError, ValidationFailed
from proxy.expressions.program import Environment, Program
from proxy.strict_json import Json


class Price:
    """The price of one endpoint's requests."""

    def __init__(self, price: str | float, schema: Mapping[str, Json]) -> None:
        """Compiles *price*, in the operator's units, and evaluates it for samples of *schema*.

        The samples are the defaults, and each field at its bounds and choices. Raises ExpressionError (a ValueError)
        where *price* does not compile, or has no result for a sample.
        """
        self._flat = _flat(price)
        self._program: Program | None = None
        if self._flat is not None:
            return
        fields = dict(_fields(schema))
        self._program = _environment().compile(str(price), fields)
        self._defaults = {name: field["default"] for name, field in fields.items() if field.get("default") is not None}
        self._check_names(fields)
        for sample in _samples(schema):
            self._check(sample)

    def evaluate(self, value: Mapping[str, Json]) -> Micros:
        """Returns the price of the payload *value* in micros, rounded up.

        Raises ValidationFailed where this payload has no price: it is rejected, never free.
        """
        try:
            return self._evaluate(value)
        except ExpressionError as error:
            raise ValidationFailed(
                [{"loc": ["body"], "msg": f"This request cannot be priced: {error.detail}", "type": "unpriceable"}]
            ) from error

    def _evaluate(self, value: Mapping[str, Json]) -> Micros:
        if self._program is None:
            return self._flat or 0
        price = self._program.evaluate(self._complete(value))
        if isinstance(price, bool) or not isinstance(price, int | float):
            raise ExpressionError("the result is not a number", self._program.expression)
        if not 0 <= price <= MAX_PRICE:  # NaN is neither
            raise ExpressionError(f"the price is {price:g}, not between 0 and {MAX_PRICE:g}", self._program.expression)
        return micros(price)

    def _complete(self, value: Mapping[str, Json]) -> dict[str, Json]:
        # Models take null for "left out", so null counts as the default.
        return {**self._defaults, **{name: item for name, item in value.items() if item is not None}}

    def _check_names(self, fields: Mapping[str, Json]) -> None:
        if self._program is not None and self._program.names is not None and not fields and self._program.names:
            raise ExpressionError(
                "the endpoint has no schema, so no field is known; a flat price is a number, as in price = 0.5",
                self._program.expression,
            )

    def _check(self, sample: Mapping[str, Json]) -> None:
        try:
            self._evaluate(sample)
        except ExpressionError as error:
            names = None if self._program is None else self._program.names
            used = {name: item for name, item in self._complete(sample).items() if names is not None and name in names}
            place = ", ".join(f"{name} = {json.dumps(item)[:60]}" for name, item in sorted(used.items()))
            raise ExpressionError(f"{error}, for {place}" if place else str(error)) from error


@cache
def _environment() -> Environment:
    return Environment("input", PRICE_FUNCTIONS)


def _flat(price: str | float) -> Micros | None:
    """Returns *price* in micros where it is a plain number, which takes no CEL engine.

    Raises ExpressionError.
    """
    try:
        units = float(price)
    except ValueError:
        return None
    if not 0 <= units <= MAX_PRICE:
        raise ExpressionError(f"the price is {units:g}, not between 0 and {MAX_PRICE:g}")
    return micros(units)


def _fields(schema: Mapping[str, Json]) -> Iterator[tuple[str, dict[str, Json]]]:
    properties = schema.get("properties")
    if isinstance(properties, dict):
        yield from ((name, field) for name, field in properties.items() if isinstance(field, dict))


def _samples(schema: Mapping[str, Json]) -> Iterator[dict[str, Json]]:
    """Yields the payload of defaults, and that with each field in turn at its bounds and choices."""
    required = schema.get("required")
    needed = set(required) if isinstance(required, list) else set()
    fields = dict(_fields(schema))
    base = {name: next(_values(field)) for name, field in fields.items() if name in needed and "default" not in field}
    yield base
    for name, field in fields.items():
        yield from ({**base, name: value} for value in _values(field))


def _values(field: dict[str, Json]) -> Iterator[Json]:
    branches = field.get("anyOf", field.get("oneOf"))
    if isinstance(branches, list):
        for branch in branches:
            if isinstance(branch, dict):
                yield from _values(branch)
        return
    bounds = [field[keyword] for keyword in ("const", "minimum", "maximum") if keyword in field]
    choices = field.get("enum")
    yield from bounds
    if isinstance(choices, list):
        yield from choices
    elif "default" in field:
        yield field["default"]
    elif not bounds:
        kinds = field.get("type")
        yield _OF_TYPE.get(str(kinds[0] if isinstance(kinds, list) and kinds else kinds))


_OF_TYPE: Mapping[str, Json] = {
    "string": "x",
    "integer": 1,
    "number": 1.0,
    "boolean": True,
    "array": [],
    "object": {},
}

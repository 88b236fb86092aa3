"""What a request costs: an operator's CEL expression over the payload that would be sent.

The payload is `input`: every number a double (CEL never mixes the two kinds), every field the schema has a default
for present. Two functions come on top: `number(x)`, a number or its spelling as a double ("4" is 4.0), and
`megapixels(size)`, of one of fal's size names or of an object with width and height.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping

from proxy.billing.ledger.money import MAX_PRICE, Micros, micros
from proxy.errors import ValidationFailed
from proxy.strict_json import Json

# fal docs, image_size.
SIZES: Mapping[str, tuple[int, int]] = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}
_SIDE = 512.0  # fal docs, ImageSize: what a width or height left out is

_NUMERAL = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?(?:e[+-]?[0-9]{1,3})?", re.ASCII)
_FIELD = re.compile(r"\binput\s*\.\s*([A-Za-z_]\w*)")
_ANY_USE = re.compile(r"\binput\b")


class Price:
    """Raises ValueError where *expression* does not compile, or does not price what *schema* lets through."""

    def __init__(self, expression: str, schema: Mapping[str, Json]) -> None:
        # Where nothing has a price its 12 MB stay out of memory.
        import cel

        self._evaluator = cel
        self._program = cel.compile(expression)
        named = _FIELD.findall(expression)
        # Only what the expression names is handed over: a picture of ten megabytes need not be copied to count images.
        self._names = frozenset(named) if len(named) == len(_ANY_USE.findall(expression)) else None
        self._defaults = {name: _default(field) for name, field in _fields(schema) if "default" in field}
        for sample in _samples(schema):
            self._check(sample)

    def of(self, value: Mapping[str, Json]) -> Micros:
        """Rounded up. Raises ValidationFailed where this one payload has no price: it is refused, never free."""
        try:
            return self._evaluate(value)
        except _NO_PRICE as error:
            raise ValidationFailed(
                [{"loc": ["body"], "msg": f"This request cannot be priced: {error}", "type": "unpriceable"}]
            ) from error

    def _check(self, sample: Mapping[str, Json]) -> None:
        try:
            self._evaluate(sample)
        except _NO_PRICE as error:
            shown = {name: value for name, value in sample.items() if self._names is None or name in self._names}
            raise ValueError(f"{error}, for {shown}") from error

    def _evaluate(self, value: Mapping[str, Json]) -> Micros:
        complete = {**self._defaults, **value}
        if self._names is not None:
            complete = {name: complete[name] for name in self._names if name in complete}
        context = self._evaluator.Context({"input": _doubled(complete)}, _FUNCTIONS)
        price = self._program.execute(context)
        if isinstance(price, bool) or not isinstance(price, int | float):
            raise TypeError("the price is not a number")
        if not 0 <= price <= MAX_PRICE:  # NaN is neither
            raise ValueError(f"the price is {price}, not between 0 and {MAX_PRICE:g}")
        return micros(price)


# What evaluating an expression raises for values it does not fit.
_NO_PRICE = (ValueError, TypeError, KeyError, RuntimeError, ZeroDivisionError, OverflowError)


# The binding logs what a function raised, with what the caller wrote in it. A logger that is only disabled comes back
# to life wherever logging is configured anew.
logging.getLogger("cel").addFilter(lambda record: False)


def number(value: float | str) -> float:
    if isinstance(value, bool) or not _NUMERAL.fullmatch(str(value)):
        raise ValueError("number() takes a number or its digits")
    return float(value)


def megapixels(size: str | Mapping[str, float]) -> float:
    width, height = SIZES[size] if isinstance(size, str) else (size.get("width", _SIDE), size.get("height", _SIDE))
    return width * height / 1e6


_FUNCTIONS = {"number": number, "megapixels": megapixels}


def _doubled(value: Json) -> Json:
    if isinstance(value, dict):
        return {name: _doubled(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_doubled(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _fields(schema: Mapping[str, Json]) -> Iterator[tuple[str, dict[str, Json]]]:
    properties = schema.get("properties")
    if isinstance(properties, dict):
        yield from ((name, field) for name, field in properties.items() if isinstance(field, dict))


def _default(field: dict[str, Json]) -> Json:
    return field["default"]


def _samples(schema: Mapping[str, Json]) -> Iterator[dict[str, Json]]:
    """The payload of defaults, and that with one field after another at each of its telling values."""
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
    for keyword in ("const", "minimum", "maximum"):
        if keyword in field:
            yield field[keyword]
    choices = field.get("enum")
    if isinstance(choices, list):
        yield from choices
    elif "minimum" not in field and "const" not in field:
        yield _OF_TYPE.get(str(field.get("type")), None)


_OF_TYPE: Mapping[str, Json] = {
    "string": "x",
    "integer": 1,
    "number": 1.0,
    "boolean": True,
    "array": [],
    "object": {},
}

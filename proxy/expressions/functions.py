"""Functions that expressions can call beside CEL's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from proxy.strict_json import Json

Parameter: TypeAlias = Literal["number", "text", "anything"]

# At most 15 digits: more do not fit a double.
_NUMERAL = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Function:
    """A function by its name and parameters. *call* raises ValueError with a message for the operator.

    *is_member*: it is also called as a method of its first parameter.
    """

    name: str
    parameters: tuple[Parameter, ...]
    call: Callable[..., float]
    is_member: bool = False


def number(value: Json) -> float:
    """Returns the number that *value* is, or that its text spells. Raises ValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and _NUMERAL.fullmatch(value):
        return float(value)
    raise ValueError(f"number() takes a number or its digits, not {kind(value)}")


def length(value: Json) -> float:
    """Returns the characters of a text, or the members of a list or object. CEL's `size`, as a decimal."""
    if not isinstance(value, str | list | dict):
        raise ValueError(f"size() takes a text, a list or an object, not {kind(value)}")  # noqa: TRY004 one type for all
    return float(len(value))


def trunc(value: Json) -> float:
    """Returns the whole part of a number. CEL's `int`, as a decimal."""
    return float(int(number(value)))


def kind(value: Json) -> str:
    """Returns what *value* is, for a message. The text of a caller is not repeated."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "other text"
    return "null" if value is None else "a list" if isinstance(value, list) else "an object"


STANDARD = (
    Function("number", ("anything",), number),
    Function("length", ("anything",), length, is_member=True),
    Function("trunc", ("anything",), trunc),
)

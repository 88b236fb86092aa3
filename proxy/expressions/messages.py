"""Messages of a CEL engine, translated for the person who wrote the expression."""

from __future__ import annotations

import re
from collections.abc import Iterable

from proxy.expressions.tokens import Rewritten
from proxy.near_names import did_you_mean

_FIRST_ERROR = re.compile(r"ERROR: <input>:\d+:(?P<column>\d+): (?P<message>[^\n]*)")
_UNDECLARED = re.compile(r"undeclared reference to '(?P<name>[^']*)'")
_OVERLOAD = re.compile(
    r"(?i)no matching overloads?(?: found)?(?: for| :) *'?(?P<function>[^'( ]+)'?"
    r"(?:(?: applied to '| *)\((?P<kinds>[^)]*)\))?"
)
_MISSING = re.compile(r'Key not found in map : "(?P<name>[^"]*)"')
_INDEX = re.compile(r"Index error: index=(?P<index>\d+) size=(?P<size>\d+)")
_CODE = re.compile(r"^[A-Z_]+: (?P<message>.*?)(?: \[[A-Z_]+\])?$", re.DOTALL)

_KINDS = {
    "double": "a number",
    "int": "a number",
    "int64": "a number",
    "uint64": "a number",
    "string": "a text",
    "bool": "true or false",
    "null_type": "null",
    "map": "an object",
    "list": "a list",
    "dyn": "any value",
}
_OPERATORS = {"_?_:_": "? :", "!_": "!", "-_": "-", "_[_]": "[ ]", "@in": "in"}
_LOGICAL = {"_&&_": "&&", "_||_": "||"}
_OUR_NAMES = {"length": "size", "trunc": "int"}


def compile_message(error: str, rewritten: Rewritten, names: Iterable[str]) -> str:
    """Returns the first mistake that *error* reports, an engine's message about *rewritten*."""
    if "max recursion depth" in error:
        return "has more than 32 steps inside each other or in one chain; use parentheses or a table"
    match = _FIRST_ERROR.search(error)
    if match is None:
        return "is not a valid expression"
    place = f" at character {rewritten.position(int(match['column']) - 1) + 1}"
    if (undeclared := _UNDECLARED.search(match["message"])) is not None:
        name = undeclared["name"].split(".")[0]
        return f"{name} is no variable or function here{did_you_mean(name, names)}"
    if match["message"].startswith("Syntax error"):
        return f"is not complete, or has a sign too many{place}"
    return f"{_overload_message(match['message']) or match['message']}{place}"


def evaluation_message(error: str, variable: str, used: frozenset[str], fields: Iterable[str]) -> str:
    """Returns the mistake that *error* reports, an engine's message about one evaluation.

    *used* are the members of *variable* that the expression names, *fields* those that it can have.
    """
    if (missing := _MISSING.search(error)) is not None:
        return _missing_message(missing["name"], variable, used, tuple(fields))
    if "<jump_condition>" in error:
        return "the condition before ? must be true or false"
    if "budget exceeded" in error:
        return "takes too many steps"
    if (index := _INDEX.search(error)) is not None:
        return f"a list of {index['size']} has no item {index['index']}"
    if (overload := _overload_message(error)) is not None:
        return overload
    match = _CODE.match(error)
    return match["message"] if match else "cannot be evaluated"


def _missing_message(name: str, variable: str, used: frozenset[str], fields: tuple[str, ...]) -> str:
    if name not in used:
        return "a table in the expression, or an object, has no such member"
    if name in fields:
        member = f"{variable}.{name}"
        return f"{member} can be left out and has no default; write has({member}) ? {member} : 0"
    near = did_you_mean(name, fields) or (f"; the fields are {', '.join(fields[:20])}" if fields else "")
    return f"{variable} has no field {name}{near}"


def _overload_message(error: str) -> str | None:
    match = _OVERLOAD.search(error)
    if match is None:
        return None
    function = match["function"]
    given = [
        _KINDS.get(kind.split("(")[0].strip(), kind.strip())
        for kind in (match["kinds"] or "").split(",")
        if kind.strip()
    ]
    listed = " and ".join(given) or "nothing"
    if function == "_?_:_":
        return f"both results of ? : must be of one kind, not {' and '.join(given[1:])}"
    if function.isidentifier():
        return f"{_OUR_NAMES.get(function, function)}() does not take {listed}"
    if function in _LOGICAL or not given:
        return f"{_LOGICAL.get(function, function)} takes true or false on both sides"
    if function == "_%_":
        return "% is not offered; write a - b * int(a / b)"
    operator = _OPERATORS.get(function, function.strip("_"))
    hint = "; number(...) reads digits" if "a text" in given and "a number" in given else ""
    return f"{operator} does not take {listed}{hint}"

"""CEL expressions of the operator, compiled at start and evaluated within a bounded cost.

Evaluation is cel-cpp's (package `cel-expr-python`, an extra). All numbers are decimals, so `input.num_images * 2` is
valid. An evaluation is rejected beforehand where it could take more than a millisecond. Its cost is the number of
tokens, times the number of values for each list macro, plus the characters of the values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from itertools import groupby
from types import ModuleType
from typing import Protocol

from proxy.errors import ExpressionError
from proxy.expressions.functions import STANDARD, Function
from proxy.expressions.messages import compile_message, evaluation_message
from proxy.expressions.tokens import MACROS, Rewritten
from proxy.strict_json import Json

MAX_TOKENS = 400
MAX_TEXT = 200_000  # characters of the values of one evaluation
MAX_VALUES = 1_000
MAX_COST = 5_000
_TEXT_UNIT = 4_000  # characters that cost as much as one token
_SEARCH_UNIT = 400  # contains() takes quadratic time for a text made for it
_MISSING_PACKAGE = "an expression needs a package that is not installed: pip install 'fal-auth-proxy[expressions]'"
_CEL_FUNCTIONS = frozenset({"has", "size", "int", "double", "string", "bool", "startsWith", "endsWith", "contains"})


class _Type(Protocol):
    def name(self) -> str: ...


class _Value(Protocol):
    def plain_value(self) -> object: ...

    def type(self) -> _Type: ...


class _Compiled(Protocol):
    def eval(self, *, data: Mapping[str, Json]) -> _Value: ...


class Environment:
    """One variable and a set of functions: the names that an expression may use."""

    def __init__(self, variable: str, functions: Iterable[Function] = ()) -> None:
        """Raises ExpressionError where the CEL package is not installed."""
        cel = _import_cel()
        self._variable = variable
        available = sorted((*functions, *STANDARD), key=lambda function: function.name)
        self._names = frozenset({variable, *(function.name for function in available), *_CEL_FUNCTIONS})
        self._env = cel.NewEnv(
            variables={variable: cel.Type.Map(cel.Type.STRING, cel.Type.DYN)},
            functions=[
                cel.FunctionDecl(name, [overload for function in group for overload in _overloads(cel, function)])
                for name, group in groupby(available, key=lambda function: function.name)
            ],
        )

    def compile(self, expression: str, fields: Iterable[str] = ()) -> Program:
        """Returns the program of *expression*. *fields*: the variable's possible members, for messages.

        Raises ExpressionError with the expression and what was expected.
        """
        rewritten = Rewritten(expression)
        if len(rewritten.tokens) > MAX_TOKENS:
            raise ExpressionError(f"the expression has more than {MAX_TOKENS} words and signs")
        if "matches" in rewritten.calls():
            raise ExpressionError("matches() is not offered; use startsWith, endsWith or contains", expression)
        try:
            compiled = self._env.compile(rewritten.text)
        except RuntimeError as error:
            raise ExpressionError(compile_message(str(error), rewritten, self._names), expression) from error
        return Program(self._variable, expression, rewritten, compiled, tuple(fields))


class Program:
    """One compiled expression. *names* are the members of the variable it uses, None where it can use any."""

    def __init__(
        self, variable: str, expression: str, rewritten: Rewritten, compiled: _Compiled, fields: tuple[str, ...]
    ) -> None:
        self.expression = expression
        self.names = rewritten.members(variable)
        self._variable = variable
        self._compiled = compiled
        self._fields = fields
        self._used = self.names or frozenset(fields)
        self._tokens = len(rewritten.tokens)
        calls = list(rewritten.calls())
        self._macros = sum(name in MACROS for name in calls)
        self._searches = calls.count("contains")
        self._literals = sum(token.text == "," for token in rewritten.tokens)

    def evaluate(self, value: Mapping[str, Json]) -> object:
        """Returns the result for *value*, the members of the variable. Raises ExpressionError alone.

        CEL has bytes, times and types beside the values of JSON.
        """
        # Only members in use are converted: a data URI of ten megabytes need not be copied to count images.
        used = value if self.names is None else {name: value[name] for name in self.names if name in value}
        size = _Size()
        bound = {name: size.decimal(item) for name, item in used.items()} if len(used) <= MAX_VALUES else None
        if bound is None or size.values > MAX_VALUES or size.characters > MAX_TEXT or self._cost(size) > MAX_COST:
            raise ExpressionError(f"{self._variable} is too large to evaluate this for", self.expression)
        result = self._compiled.eval(data={self._variable: bound})
        plain = result.plain_value()
        if result.type().name() == "ERROR":
            raise ExpressionError(
                evaluation_message(str(plain), self._variable, self._used, self._fields), self.expression
            )
        return plain

    def _cost(self, size: _Size) -> int:
        values: int = max(size.values, self._literals, 1) ** self._macros
        searches = self._searches * (size.characters // _SEARCH_UNIT) ** 2
        return self._tokens * (values + size.characters // _TEXT_UNIT) + searches


class _Size:
    """The number of values and characters that were converted; conversion stops over MAX_VALUES."""

    def __init__(self) -> None:
        self.values = 0
        self.characters = 0

    def decimal(self, value: Json) -> Json:
        """Returns *value* with every integer as a decimal. Over MAX_VALUES lists and objects come back empty."""
        self.values += 1
        if isinstance(value, str):
            self.characters += len(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        elif isinstance(value, dict):
            self.values += len(value) if len(value) > MAX_VALUES else 0
            self.characters += sum(map(len, value)) if self.values <= MAX_VALUES else 0
            return {n: self.decimal(item) for n, item in value.items()} if self.values <= MAX_VALUES else {}
        elif isinstance(value, list):
            self.values += len(value) if len(value) > MAX_VALUES else 0
            return [self.decimal(item) for item in value] if self.values <= MAX_VALUES else []
        return value


def _import_cel() -> ModuleType:
    # A gateway without expressions starts 20 MB lighter, and needs no package for them.
    try:
        return import_module("cel_expr_python.cel")
    except ImportError as error:
        raise ExpressionError(_MISSING_PACKAGE) from error


def _overloads(cel: ModuleType, function: Function) -> list[object]:
    kinds = {
        "number": [cel.Type.DOUBLE],
        "text": [cel.Type.STRING],
        # A parameter of type dyn matches no value at run time, so each type has an overload (cel-expr-python 0.1.3).
        "anything": [
            *(cel.Type.DOUBLE, cel.Type.STRING, cel.Type.BOOL, cel.Type.NULL, cel.Type.INT),
            *(cel.Type.List(cel.Type.DYN), cel.Type.Map(cel.Type.DYN, cel.Type.DYN)),
        ],
    }
    first, *others = function.parameters
    rest = [kinds[parameter][0] for parameter in others]
    return [
        cel.Overload(
            f"{function.name}_{len(function.parameters)}_{kind.name()}_{is_member}",
            return_type=cel.Type.DOUBLE,
            parameters=[kind, *rest],
            impl=function.call,
            is_member=is_member,
        )
        for kind in kinds[first]
        for is_member in ((False, True) if function.is_member else (False,))
    ]

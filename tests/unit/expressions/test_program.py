from __future__ import annotations

import sys
from contextlib import suppress

import pytest
from support.cpu import cost

from proxy.errors import ExpressionError
from proxy.expressions.program import Environment
from proxy.strict_json import Json

ENVIRONMENT = Environment("input")
VALUE: dict[str, Json] = {
    "n": 2.0,
    "i": 3,
    "items": [1, 2, 3],
    "text": "abc",
    "size": {"width": 512},
    "nothing": None,
    "flag": True,
}


def evaluate(expression: str, value: dict[str, Json] | None = None) -> object:
    return ENVIRONMENT.compile(expression, VALUE).evaluate(VALUE if value is None else value)


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("input.n * 2", 4.0),
        ("2 * 0.5", 1.0),
        ("input.i * input.n", 6.0),
        ("input.items[1]", 2.0),
        ("size(input.items) * 2", 6.0),
        ("input.text.size() + 1", 4.0),
        ("int(input.i / 2)", 1.0),
        ("input.n > 1 ? 0.5 : 1", 0.5),
        ("input.text == 'abc' ? 1 : 2.5", 1.0),
        ("{'abc': 1, 'd': 2.5}[input.text]", 1.0),
        ("input.items.map(x, x * 2).exists(y, y > 5) ? 1 : 0", 1.0),
        ("has(input.none) ? 1 : 2", 2.0),
        ("input.size.width / 2", 256.0),
        ("0x10 + 1u", 17.0),
        ("input.flag && !(input.n != 2) || false", True),
        ("'2 * 3' + \"4\"", "2 * 34"),
        ("1 // a comment\n + 1", 2.0),
    ],
)
def test_integers_and_decimals_mix(expression: str, result: Json) -> None:
    """Every number is a decimal, wherever it comes from: a literal, the value, or a function of CEL."""
    assert evaluate(expression) == result


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("input.nn * 2", 'input has no field nn; did you mean "n"?'),
        ("numbr(input.n)", 'numbr is no variable or function here; did you mean "number"?'),
        ("input.n +", "is not complete, or has a sign too many at character 9"),
        ("2 * input.n == 4 &&", "is not complete, or has a sign too many at character 19"),
        ("input.text + 1", "+ does not take a text and a number; number(...) reads digits"),
        ("input.n ? 1 : 2", "the condition before ? must be true or false"),
        ("input.n > 1 ? 'a' : 1", "both results of ? : must be of one kind, not a text and a number at character 13"),
        ("input.items[7]", "a list of 3 has no item 7"),
        ("number(input.text)", "number() takes a number or its digits, not other text"),
        ("size(input.n)", "size() takes a text, a list or an object, not a number"),
        ("input.n && true", "&& takes true or false on both sides"),
        ("{'ab': 1}[input.text]", "a table in the expression, or an object, has no such member"),
        ("input.text.matches('a')", "matches() is not offered; use startsWith, endsWith or contains"),
        ("input.i % 2", "% is not offered; write a - b * int(a / b) at character 9"),
    ],
)
def test_a_message_has_the_expression_and_what_was_expected(expression: str, message: str) -> None:
    """A mistake is reported with the expression and the place in it, without words of the engine."""
    with pytest.raises(ExpressionError) as raised:
        evaluate(expression)
    assert str(raised.value) == f'"{expression}": {message}'
    assert raised.value.detail == message


def test_a_field_without_a_default_leads_to_has() -> None:
    """The message for a field that can be left out shows how to write the expression."""
    with pytest.raises(ExpressionError, match=r"write has\(input\.n\) \? input\.n : 0"):
        evaluate("input.n * 2", {})


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        (" + ".join(["input.a"] * 29), {"a": "x" * 200_000}),
        ("size(input.a)", {"a": "x" * 199_000}),
        ("size(input.a)", {"a": ["x" * 190] * 999}),
        ("size(input.a)", {"a": [{"a": 1}] * 499}),
        ("size(input.a)", {"a": [[1]] * 50_000}),
        ("input.a.all(x, input.a.all(y, x + y > 0))", {"a": [1] * 400}),
        ("input.a.all(x, " + " && ".join(["size(x) > 0"] * 29) + ")", {"a": ["a"] * 19}),
        ("input.a.map(x, " + " + ".join(["[x]"] * 28) + ")", {"a": [1] * 24}),
        ("[" + ", ".join("1" * 150) + "].all(x, x < 3)", {}),
        (" + ".join(["size(input.a)"] * 28), {"a": "x" * 190_000}),
        (" || ".join(["input.a.contains(input.b)"] * 9), {"a": "a" * 99_000, "b": "a" * 50_000 + "b"}),
        ("size(input)", {str(i): i for i in range(50_000)}),
    ],
)
def test_no_evaluation_takes_long(expression: str, value: dict[str, Json]) -> None:
    """An expression over a large value takes, or is rejected in, less CPU than a loop of 80,000 additions."""
    program = ENVIRONMENT.compile(expression)

    def evaluated() -> None:
        with suppress(ExpressionError):
            program.evaluate(value)

    assert cost(evaluated) < 4


def test_a_chain_that_the_parser_cannot_take_is_reported() -> None:
    """More than 32 operations in one chain are rejected at start, with the way around."""
    with pytest.raises(ExpressionError, match="more than 32 steps"):
        ENVIRONMENT.compile(" + ".join(["1"] * 60))
    with pytest.raises(ExpressionError, match="more than 400 words"):
        ENVIRONMENT.compile("(" + " + ".join(["1"] * 300) + ")")


def test_only_members_in_use_are_converted() -> None:
    """An expression knows the members it reads; one that uses the whole variable has None."""
    assert ENVIRONMENT.compile("input.a + input.b.c").names == frozenset({"a", "b"})
    assert ENVIRONMENT.compile("'a' in input").names is None
    assert ENVIRONMENT.compile("1 + 2").names == frozenset()


def test_a_missing_package_is_reported_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the message is the command that installs it."""
    monkeypatch.setitem(sys.modules, "cel_expr_python", None)
    monkeypatch.delitem(sys.modules, "cel_expr_python.cel", raising=False)

    with pytest.raises(ExpressionError, match=r"pip install 'fal-auth-proxy\[expressions\]'"):
        Environment("claims")

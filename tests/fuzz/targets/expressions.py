"""Expressions of prices and claim rules: any text, any payload, and arithmetic against Python's."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from random import Random

from fuzz.target import Target, check_cpu
from support.random_payloads import random_payload

from proxy.auth.caller import Caller
from proxy.auth.claim_rule import ClaimRule
from proxy.auth.sessions.claims import Claims
from proxy.billing.ledger.money import MAX_JOB_COST
from proxy.billing.price_functions import PRICE_FUNCTIONS
from proxy.billing.pricing import Price
from proxy.errors import ExpressionError, MalformedJson, ValidationFailed
from proxy.expressions.program import Environment, Program
from proxy.payload.validation.schema_file import SHIPPED, load_schema
from proxy.strict_json import Json, dump, parse

PICTURES = load_schema(SHIPPED / "fal-ai/hyper-sdxl/image-to-image.json").input
PRICES = (
    "input.num_images * number(input.num_inference_steps) * megapixels(input.image_size)",
    "input.num_images * 0.1 + ceil(megapixels(input.image_size, 1.05)) / 3",
    "characters(input.prompt) * 0.001",
    "has(input.seed) ? 2 : size(input.prompt) > 10 ? 3.5 : 1",
    "max(seconds(input.duration, 5), 2) * 0.2",
    "input.embeddings.filter(e, has(e.path)).size() * 0.5 + 1",
    "input.prompt.contains('a cat') || input.prompt.startsWith('x') ? 1 : 2",
)
RULES = (
    "claims.plan == 'pro' || 'beta' in claims.roles",
    "claims.app_metadata.level >= 2 && !has(claims.banned)",
    "claims.groups.exists(g, g.startsWith('team-'))",
    "size(claims.roles) > 1",
)
MOST_EVALUATION = 0.05  # seconds of CPU; the limit of the code aims at one millisecond
_VALUES: tuple[dict[str, Json], ...] = (
    {},
    {"num_images": 2, "prompt": "a cat", "image_size": {"width": 512, "height": 512}, "seed": 1, "a": [1, 2, "x"]},
    {"a": "ab" * 4000, "num_images": 1e300, "prompt": "\u00e9", "embeddings": [{"path": "x"}] * 50, "b": None},
)


@cache
def _environment() -> Environment:
    return Environment("input", PRICE_FUNCTIONS)


@cache
def _prices() -> tuple[Price, ...]:
    schema: Mapping[str, Json] = {
        **PICTURES,
        "properties": {**PICTURES["properties"], "duration": {"type": "string", "default": "5"}},  # type: ignore[dict-item]
    }
    return tuple(Price(expression, schema) for expression in PRICES)


@cache
def _rules() -> tuple[ClaimRule, ...]:
    return tuple(map(ClaimRule, RULES))


def check(data: bytes) -> None:
    """Checks *data*, whose first byte decides what the rest is."""
    if not data:
        return
    rest = data[1:]
    match data[0] % 4:
        case 0:
            _check_expression(rest.decode("utf-8", "ignore"))
        case 1:
            _check_value(rest, _check_priced)
        case 2:
            _check_value(rest, _check_claims)
        case _:
            _check_arithmetic(rest)


def _check_expression(text: str) -> None:
    try:
        program = _environment().compile(text)
    except ExpressionError:
        return
    for value in _VALUES:
        check_cpu(partial(_evaluate, program, value), MOST_EVALUATION, text)
    try:
        price = Price(text, PICTURES)
    except ExpressionError:
        return
    _check_price(price, {"prompt": "a cat", "image_url": "https://example.com/a.png"})


def _evaluate(program: Program, value: Mapping[str, Json]) -> None:
    with contextlib.suppress(ExpressionError):
        program.evaluate(value)


def _check_value(raw: bytes, checked: Callable[[dict[str, Json]], None]) -> None:
    try:
        value = parse(raw)
    except MalformedJson:
        return
    if isinstance(value, dict):
        checked(value)


def _check_priced(value: dict[str, Json]) -> None:
    for price in _prices():
        _check_price(price, value)


def _check_price(price: Price, value: dict[str, Json]) -> None:
    try:
        cost = price.evaluate(value)
    except ValidationFailed as refusal:
        message = refusal.detail[0]["msg"]
        long = [text for text in _texts(value) if len(text) > 12]
        assert not any(text in message for text in long), "a message repeats a text of the caller"
        return
    check_cpu(partial(price.evaluate, value), MOST_EVALUATION, "a price")
    assert type(cost) is int
    assert 0 <= cost <= MAX_JOB_COST
    assert price.evaluate(dict(reversed(value.items()))) == cost, "the order of the fields has a meaning"


def _texts(value: Json) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _caller(value: dict[str, Json]) -> Caller:
    return Caller("https://issuer.test", "alice", "0" * 64, frozenset(), 0.0, Claims(value))


def _check_claims(value: dict[str, Json]) -> None:
    for rule in _rules():
        caller = _caller(value)
        assert rule.allows(caller) is rule.allows(caller)
        # A caller's decision is kept, so another one is needed.
        check_cpu(partial(rule.allows, _caller(value)), MOST_EVALUATION, rule.expression)
    first = _caller(value)
    roles = value.get("roles")
    # A missing claim is an error of the one side, which the other side of || can make up for.
    expected = value.get("plan") == "pro" or (isinstance(roles, list | dict) and "beta" in roles)
    assert _rules()[0].allows(first) is expected, value


class Arithmetic:
    """Reader of a formula from bytes: its text as an expression, and its value by Python."""

    def __init__(self, data: bytes) -> None:
        self._bytes = iter(data[:60])

    def formula(self, depth: int = 0) -> tuple[str, float]:
        """Returns text and value of the next formula."""
        kind = next(self._bytes, 0)
        if depth > 4 or kind < 80:
            return self._number(kind)
        left, a = self.formula(depth + 1)
        right, b = self.formula(depth + 1)
        match kind % 8:
            case 0:
                return f"({left} + {right})", a + b
            case 1:
                return f"({left} - {right})", a - b
            case 2:
                return f"({left} * {right})", a * b
            case 3:
                return f"({left} / {right})", _quotient(a, b)
            case 4:
                return f"({left} < {right} ? {left} : {right})", a if a < b else b
            case 5:
                return f"max({left}, {right})", max(a, b)
            case 6:
                return f"-{left}", -a
            case _:
                return f"({left} >= {right} || !({left} == {right}) ? {right} : 1)", b if a >= b or a != b else 1.0

    def _number(self, kind: int) -> tuple[str, float]:
        byte = next(self._bytes, 1)
        match kind % 4:
            case 0:
                return str(byte), float(byte)
            case 1:
                return f"{byte}.25", byte + 0.25
            case 2:
                return f"0x{byte:x}", float(byte)
            case _:
                return "input.n", 3.0


def _quotient(a: float, b: float) -> float:
    if b:
        return a / b
    return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1, b)


def _check_arithmetic(data: bytes) -> None:
    text, expected = Arithmetic(data).formula()
    if not math.isfinite(expected):
        return
    result: object = None
    problem = ""
    try:
        result = _environment().compile(text).evaluate({"n": 3})
    except ExpressionError as error:
        problem = error.detail
    if "words and signs" in problem or "too large" in problem:
        return
    assert problem == "", (text, problem)
    assert isinstance(result, float), (text, result)
    assert result == expected, (text, result, expected)


def seeds() -> Iterable[bytes]:
    """Yields expressions, payloads, claims and formulas."""
    yield from (b"\0" + text.encode() for text in (*PRICES, *(rule.replace("claims", "input") for rule in RULES)))
    for text in _TEXTS:
        yield b"\0" + text.encode()
    dice = Random(1)
    for _ in range(12):
        yield b"\1" + dump(random_payload(PICTURES, dice))
    for fields in _FIELDS:
        yield b"\1" + json.dumps({"prompt": "a cat", "num_images": 1, **fields}).encode()
        yield b"\2" + json.dumps(fields).encode()
    yield from (b"\3" + bytes(dice.randrange(256) for _ in range(40)) for _ in range(20))


_TEXTS = (
    *("1", "0.1 * 3", "1u + 0x10", "1 / 0", "0.0 / 0.0", "-1", "true", "'a' + \"b\"", "'''a\nb'''", "r'\\d'", "b'a'"),
    *("[1, 2, 3].map(x, x * 2)", "{'a': 1}.a", "input.a.all(x, x > 0)", "input.a.exists_one(x, x == 1)"),
    *("input.a.contains('ab')", "input.a.matches('a+')", "size(input)", "size(input.a)", "int(1.5)", "uint(2)"),
    *("double('1')", "string(1.5)", "bool('true')", "timestamp('2020-01-01T00:00:00Z')", "duration('1s')", "type(1)"),
    *("input.b == null", "input.?a.orValue(1)", "1 in [1]", "a.b.c", "input.a +", "// a", "", "\u00e9", "'"),
    *("[[1,2],[3]].map(x, x.map(y, y))", "megapixels(input.image_size)", "((((((1))))))", "- - -1", "!!true"),
    *("1 ? 2 : 3", "input['a'][0]"),
)
_FIELDS: tuple[dict[str, Json], ...] = (
    {},
    {"image_size": "square"},
    {"image_size": {"width": 1e308, "height": 1e308}},
    {"image_size": {"width": "512"}},
    {"image_size": "99999x99999"},
    {"num_images": -1},
    {"num_images": 10**30},
    {"num_images": "many"},
    {"num_inference_steps": "4"},
    {"duration": "6s"},
    {"duration": 1e9},
    {"duration": [1]},
    {"prompt": "x" * 1500},
    {"prompt": ["a", "b"]},
    {"embeddings": [{"path": "a"}, {}, 1]},
    {"plan": "pro"},
    {"roles": ["a", "beta"]},
    {"roles": {"beta": 1}, "groups": ["team-1"], "app_metadata": {"level": 2}},
    {"roles": "beta", "groups": [1, None], "app_metadata": {"level": "2"}, "banned": None},
)

TARGET = Target(
    "expressions",
    check,
    seeds,
    words=(
        *b"input. input.a input.num_images input.prompt size( int( double( string( has( megapixels( seconds(".split(),
        *b"characters( ceil( floor( min( max( .contains('a') .startsWith('a') ( ) [ ] { } , . ! + - * / %".split(),
        *b"1 0.5 1e308 0x1f 9999999999999999999 1u 'a' \" ''' r' b' // null true \\ \xc3\xa9".split(),
        *b'"prompt": "image_size": "width": "roles": "plan":"pro"'.split(),
        *(b".map(x, ", b".filter(x, ", b".all(x, ", b".exists(x, ", b" in ", b" ? ", b" : ", b" && ", b" || ", b"\n"),
        *(b" == ", b" >= ", b" + ", b" - "),
    ),
)

"""Tests of proxy.validation."""

from __future__ import annotations

import time

import pytest
from jsonschema_rs import ValidationError

from proxy.payload.validation.validator import MAX_VIOLATIONS, Validator
from proxy.strict_json import Json


@pytest.mark.parametrize("value", [1, 1.0, 10**299, "x", None, [], {"a": {"b": [1]}}], ids=str)
def test_a_valid_value_has_no_violation(value: Json) -> None:
    """Nothing is coerced, added or complained about."""
    assert Validator(True).violations(value) == []


def test_every_error_is_reported() -> None:
    """One answer is enough to mend a body."""
    validator = Validator({"required": ["a", "b"], "properties": {"c": {"maxLength": 1}, "d": {"type": "integer"}}})

    errors = validator.violations({"c": "xx", "d": "5", "e": 1})

    assert [error["loc"] for error in errors] == [["body", name] for name in "abcd"]


def test_the_list_is_bounded() -> None:
    """A body full of mistakes gets the first fifty."""
    items = Validator({"items": {"type": "string"}})
    members = Validator({"properties": {}, "additionalProperties": False})

    assert len(items.violations([1] * 60)) == MAX_VIOLATIONS
    assert len(members.violations({str(number): number for number in range(60)})) == MAX_VIOLATIONS


ALTERNATIVES: Json = {"anyOf": [{"type": "integer"}, {"type": "object", "required": ["x"]}]}
# What Pydantic makes of an optional list of a union: jsonschema-rs would explain each item before it gave one error.
NESTED: Json = {"anyOf": [{"type": "array", "items": ALTERNATIVES}, {"type": "null"}]}
LARGE: dict[str, Json] = {
    "items": [{}] * 90_000,
    "items-after-good-ones": [*[1] * 90_000, {}],
    "nested": [[[{}]]] * 20_000,
    "members": {str(number): {} for number in range(30_000)},
    "string": "x" * 10_000_000,
}


@pytest.mark.parametrize("value", LARGE.values(), ids=LARGE)
def test_a_large_field_is_judged_and_not_explained(value: Json) -> None:
    """A large field is checked without an explanation in no time, and the others are explained."""
    fields: Json = {"large": NESTED, "number": {"type": "integer"}, "good": {"type": ["string", "array", "object"]}}
    validator = Validator({"properties": fields, "required": ["large", "missing"]})
    start = time.thread_time()

    errors = validator.violations({"good": value, "large": value, "number": "1"})

    assert sorted((error["loc"][1], error["type"]) for error in errors) == [
        ("large", "value_error"),
        ("missing", "missing"),
        ("number", "int_type"),
    ]
    assert time.thread_time() - start < 1.0


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "object"}, [{}] * 90_000),
        (NESTED, [{}] * 90_000),
        ({"additionalProperties": NESTED}, {"a": [{}] * 90_000}),
        ({"properties": {"a": {"type": "string"}}, "maxProperties": 300}, {str(n): n for n in range(90_000)}),
    ],
    ids=["not-an-object", "list", "unnamed-member", "many-members"],
)
def test_a_large_value_of_no_known_field_gets_one_entry(schema: dict[str, Json], value: Json) -> None:
    """Something is wrong with the body, and that is what the answer says."""
    assert Validator(schema).violations(value) == [
        {"loc": ["body"], "msg": "Input does not fit its schema; it is too large to say where", "type": "value_error"}
    ]


def test_large_is_a_matter_of_alternatives_too() -> None:
    """A schema of many alternatives explains fewer values, and a caller with time may have more of them."""
    wide: dict[str, Json] = {"items": {"anyOf": [{"const": number} for number in range(256)]}}

    assert len(Validator(wide).violations(["x"] * 10)) == 10
    assert len(Validator(wide).violations(["x"] * 20)) == 1
    assert len(Validator(wide, effort=8192).violations(["x"] * 20)) == 20


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|a)*$", r"^(a|b|ab)*c$", r"(.*a){20}"])
def test_patterns_run_in_linear_time(pattern: str) -> None:
    """A pattern that takes a backtracking engine for ever is answered at once."""
    validator = Validator({"pattern": pattern})
    start = time.thread_time()

    validator.violations("a" * 50_000 + "!")

    assert time.thread_time() - start < 1.0


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": "(?=a)b"},
        {"pattern": r"(a)\1"},
        {"pattern": "("},
        {"pattern": "(a{1000}){1000}"},
        {"patternProperties": {"(?!a)": True}},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"type": "strng"},
    ],
    ids=str,
)
def test_what_cannot_be_compiled_safely_is_refused(schema: dict[str, Json]) -> None:
    """No engine that backtracks, no schema from elsewhere."""
    with pytest.raises(ValidationError):
        Validator(schema)

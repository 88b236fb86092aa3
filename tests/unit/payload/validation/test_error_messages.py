"""Tests of proxy.explanations, on what jsonschema-rs finds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.payload.validation.error_messages import field_error
from proxy.payload.validation.validator import Validator
from proxy.strict_json import Json

SIZE: dict[str, Json] = {"type": "object", "properties": {"width": {"type": "integer", "maximum": 9}}}
CHOICE: dict[str, Json] = {"type": "string", "enum": ["jpeg", "png"]}
CIRCLE: dict[str, Json] = {
    "type": "object",
    "required": ["kind", "radius"],
    "properties": {"kind": {"const": "circle"}, "radius": {"type": "number"}},
}
SQUARE: dict[str, Json] = {
    "type": "object",
    "required": ["kind", "side"],
    "properties": {"kind": {"const": "square"}, "side": {"type": "number"}},
}


@pytest.mark.parametrize(
    ("schema", "value", "error_type", "message"),
    [
        ({"type": "integer"}, "1", "int_type", "Input should be a valid integer"),
        ({"type": "integer"}, 1.5, "int_type", "Input should be a valid integer"),
        ({"type": "integer"}, True, "int_type", "Input should be a valid integer"),
        ({"type": "number"}, "1", "float_type", "Input should be a valid number"),
        ({"type": "string"}, 1, "string_type", "Input should be a valid string"),
        ({"type": "boolean"}, 1, "bool_type", "Input should be a valid boolean"),
        ({"type": "array"}, {}, "list_type", "Input should be a valid list"),
        ({"type": "object"}, [], "dict_type", "Input should be a valid object"),
        ({"type": "null"}, 0, "none_required", "Input should be null"),
        ({"type": ["null", "integer"]}, "x", "int_type", "Input should be a valid integer or null"),
        ({"type": ["integer", "string"]}, [], "value_error", "Input should be a valid integer or a valid string"),
        ({"minimum": 1}, 0, "greater_than_equal", "Input should be greater than or equal to 1"),
        ({"exclusiveMinimum": 0}, 0, "greater_than", "Input should be greater than 0"),
        ({"maximum": 0.95}, 1, "less_than_equal", "Input should be less than or equal to 0.95"),
        ({"exclusiveMaximum": 2**64}, 2**64, "less_than", "Input should be less than 18446744073709551616"),
        ({"multipleOf": 8}, 9, "multiple_of", "Input should be a multiple of 8"),
        ({"minLength": 2}, "a", "string_too_short", "String should have at least 2 characters"),
        ({"maxLength": 2}, "aaa", "string_too_long", "String should have at most 2 characters"),
        ({"pattern": "^a$"}, "b", "string_pattern_mismatch", 'String should match pattern "^a$"'),
        ({"minItems": 1}, [], "sequence_too_short", "List should have at least 1 items"),
        ({"maxItems": 1}, [1, 2], "sequence_too_long", "List should have at most 1 items"),
        ({"uniqueItems": True}, [1, 1], "value_error", "List should have no item twice"),
        ({"minProperties": 1}, {}, "value_error", "Object should have at least 1 members"),
        ({"maxProperties": 0}, {"a": 1}, "value_error", "Object should have at most 0 members"),
        (
            {"propertyNames": {"maxLength": 1}},
            {"ab": 1},
            "value_error",
            "Object has a member whose name is not accepted",
        ),
        ({"enum": ["jpeg", "png"]}, "gif", "one_of", 'Input should be "jpeg" or "png"'),
        ({"enum": [1, 2, 4]}, 3, "one_of", "Input should be 1, 2 or 4"),
        ({"const": "a"}, "b", "one_of", 'Input should be "a"'),
        (CHOICE, 5, "one_of", 'Input should be "jpeg" or "png"'),
        ({"not": {"type": "string"}}, "a", "value_error", "Input does not satisfy `not` of its schema"),
        ({"contains": {"type": "string"}}, [1], "value_error", "Input does not satisfy `contains` of its schema"),
        ({"oneOf": [{"minimum": 1}, {"minimum": 2}]}, 3, "value_error", "Input does not satisfy `oneOf` of its schema"),
        (False, 1, "extra_forbidden", "This input is not accepted"),
    ],
    ids=lambda case: str(case)[:40],
)
def test_keywords_become_fals_words(schema: dict[str, Json] | bool, value: Json, error_type: str, message: str) -> None:
    """Each keyword of JSON Schema has one error type of fal's and one sentence."""
    assert Validator(schema).violations(value) == [{"loc": ["body"], "msg": message, "type": error_type}]


@pytest.mark.parametrize(
    ("schema", "value", "loc", "error_type"),
    [
        ({"required": ["a"]}, {}, ["a"], "missing"),
        ({"dependentRequired": {"a": ["b"]}}, {"a": 1}, ["b"], "missing"),
        ({"properties": {"a": {"items": {"required": ["b"]}}}}, {"a": [{"b": 1}, {}]}, ["a", 1, "b"], "missing"),
        ({"properties": {"a": {"items": {"type": "string"}}}}, {"a": ["", 1]}, ["a", 1], "string_type"),
        ({"properties": {"a": True}, "additionalProperties": False}, {"b": 1}, ["b"], "extra_forbidden"),
        ({"properties": {"a": True}, "unevaluatedProperties": False}, {"b": 1}, ["b"], "extra_forbidden"),
        ({"prefixItems": [True], "items": False}, [1, 2], [1], "extra_forbidden"),
        ({"additionalProperties": {"type": "integer"}}, {"a/b~c": "x"}, ["a/b~c"], "int_type"),
        ({"patternProperties": {"^1$": {"type": "integer"}}}, {"1": "x"}, ["1"], "int_type"),
        ({"anyOf": [{"type": "null"}, SIZE]}, {"width": 10}, ["width"], "less_than_equal"),
    ],
    ids=lambda case: str(case)[:40],
)
def test_loc_is_the_path_from_the_body(
    schema: dict[str, Json], value: Json, loc: list[str | int], error_type: str
) -> None:
    """Members are names, items are numbers, and a missing member ends its own path."""
    (error,) = Validator(schema).violations(value)

    assert error["loc"] == ["body", *loc]
    assert error["type"] == error_type


@pytest.mark.parametrize("union", ["anyOf", "oneOf"])
@pytest.mark.parametrize(
    ("branches", "value", "found"),
    [
        ([CHOICE, SIZE], "gif", [([], "one_of", 'Input should be "jpeg" or "png"')]),
        ([CHOICE, SIZE], {"width": 10}, [(["width"], "less_than_equal", "Input should be less than or equal to 9")]),
        ([CHOICE, SIZE], 5, [([], "value_error", 'Input should be "jpeg", "png" or a valid object')]),
        (
            [{"type": "string", "not": {"type": "integer"}}, SIZE],
            5,
            [([], "value_error", "Input should be a valid string or a valid object")],
        ),
        ([CHOICE, {"enum": [1, 2]}], 3, [([], "one_of", "Input should be 1 or 2")]),
        ([CHOICE, {"enum": [1, 2]}], True, [([], "one_of", 'Input should be "jpeg", "png", 1 or 2')]),
        ([{"type": "integer"}, {"type": "null"}], "x", [([], "int_type", "Input should be a valid integer or null")]),
        ([{"const": 1}, {"const": "1"}], "2", [([], "one_of", 'Input should be "1"')]),
        ([{"const": 1}, {"const": "1"}], [], [([], "one_of", 'Input should be 1 or "1"')]),
        ([CIRCLE, SQUARE], {"kind": "square"}, [(["side"], "missing", "Field required")]),
        (
            [CIRCLE, SQUARE],
            {"kind": "square", "side": "x"},
            [(["side"], "float_type", "Input should be a valid number")],
        ),
        ([{"anyOf": [CHOICE, SIZE]}, {"type": "null"}], "gif", [([], "one_of", 'Input should be "jpeg" or "png"')]),
        ([{"required": ["a"]}, {"required": ["b", "c"]}], {}, [(["a"], "missing", "Field required")]),
    ],
    ids=lambda case: str(case)[:40],
)
def test_the_branch_that_was_meant_is_explained(
    union: str, branches: list[Json], value: Json, found: list[tuple[list[str | int], str, str]]
) -> None:
    """A value of the right kind gets that branch's errors, any other the list of what would have done."""
    errors = Validator({union: branches}).violations(value)

    assert [(error["loc"][1:], error["type"], error["msg"]) for error in errors] == found


def test_no_value_is_echoed() -> None:
    """Neither a message nor a path holds more than 64 characters of what was sent, or of what was wanted."""
    long = "x" * 1000
    validator = Validator({"properties": {"a": {"const": long}}, "additionalProperties": {"type": "integer"}})

    errors = validator.violations({"a": "yyy", long: "zzz"})

    assert sorted(errors, key=str) == [
        {"loc": ["body", "a"], "msg": f'Input should be "{"x" * 63}…', "type": "one_of"},
        {"loc": ["body", "x" * 64 + "…"], "msg": "Input should be a valid integer", "type": "int_type"},
    ]


@pytest.mark.parametrize("name", ["0", "1", "01", "+1", "-1", "1.0", "18446744073709551616", "0" * 5000 + "1"])
def test_names_that_look_like_numbers_stay_names(name: str) -> None:
    """A path says what is in the body, not what the validator made of it."""
    validator = Validator({"additionalProperties": {"anyOf": [CIRCLE, CHOICE, {"items": SIZE, "type": "array"}]}})

    (error,) = validator.violations({name: {"kind": "circle"}})
    (inner,) = validator.violations({name: [{"width": 10}]})

    cut = name if len(name) < 65 else name[:64] + "…"
    assert error["loc"] == ["body", cut, "radius"]
    assert inner["loc"] == ["body", cut, 0, "width"]


def test_names_the_validator_loses_are_survived() -> None:
    """A path that fits two members, or leaves out an empty name, may give another place, but an answer."""
    validator = Validator({"additionalProperties": {"anyOf": [{"items": SIZE, "type": "array"}, {"type": "integer"}]}})

    bodies: list[Json] = [
        {"1": 1, "01": [{}, {"width": 10}]},
        {"1": [], "01": [{}, {"width": 10}]},
        {"+1": 5, "01": "x"},
        {"": {}},
        {"": [{"width": 10}]},
    ]

    assert [len(validator.violations(body)) for body in bodies] == [1] * 5


def test_a_field_without_a_choice_left_is_survived() -> None:
    """An empty list of choices is a valid schema."""
    (error,) = Validator({"enum": []}).violations(1)

    assert error["msg"] == "Input should be left out"


names = st.one_of(st.sampled_from(["kind", "side", "width", "a", "0", "1", "01"]), st.text(max_size=3))
values: st.SearchStrategy[Json] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.sampled_from(["circle", "jpeg", "1", ""])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=4)),
    max_leaves=12,
)


@settings(deadline=None)
@given(values)
def test_any_value_can_be_explained(value: Json) -> None:
    """The answer to every body is a list of entries that fal's clients can read."""
    inner: Json = {"anyOf": [CIRCLE, SQUARE, CHOICE, {"type": "array", "items": {"oneOf": [SIZE, {"type": "null"}]}}]}
    validator = Validator({"anyOf": [inner, {"type": "object", "additionalProperties": inner}]})

    for error in validator.violations(value):
        assert error.keys() == {"loc", "msg", "type"}
        assert error["loc"][0] == "body"
        assert len(error["msg"]) < 200


def test_many_choices_are_cut() -> None:
    """A list of a hundred voices is not read out."""
    (error,) = Validator({"enum": list(range(100))}).violations(-1)

    assert error["msg"] == "Input should be one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 88 more"


def test_field_error_has_fals_shape() -> None:
    """An entry's loc starts at the body, for checks that no schema can express."""
    assert field_error(["a", 0], "value_error", "No") == {"loc": ["body", "a", 0], "msg": "No", "type": "value_error"}

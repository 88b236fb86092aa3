from __future__ import annotations

import pytest

from proxy.sandbox.json_types import Json, JsonObject
from proxy.sandbox.models.input_validation import MAX_ERRORS, InputValidator
from proxy.sandbox.responses import FalError

SCHEMA: JsonObject = {
    "type": "object",
    "required": ["prompt"],
    "properties": {
        "prompt": {"type": "string", "maxLength": 5},
        "steps": {"type": "integer", "minimum": 1},
        "format": {"enum": ["png"]},
        "nested": {"type": "object", "required": ["path"], "properties": {"path": {"type": "string"}}},
    },
}


def errors(payload: Json) -> list[tuple[list[object], str]]:
    with pytest.raises(FalError) as refused:
        InputValidator(SCHEMA).check(payload)
    assert refused.value.status == 422
    body = refused.value.body
    assert isinstance(body, dict)
    return [(entry["loc"], entry["type"]) for entry in body["detail"]]


@pytest.mark.parametrize(
    ("payload", "location", "kind"),
    [
        ({}, ["body", "prompt"], "missing"),
        ({"prompt": None}, ["body", "prompt"], "missing"),
        ({"prompt": "too long"}, ["body", "prompt"], "string_too_long"),
        ({"prompt": "x", "steps": 0}, ["body", "steps"], "greater_than_equal"),
        ({"prompt": "x", "steps": "1"}, ["body", "steps"], "type_error"),
        ({"prompt": "x", "format": "gif"}, ["body", "format"], "literal_error"),
        ({"prompt": "x", "nested": {}}, ["body", "nested", "path"], "missing"),
        ([], ["body"], "dict_type"),
    ],
    ids=str,
)
def test_an_error_has_fals_location_and_type(payload: Json, location: list[object], kind: str) -> None:
    """The location starts with `body`, as in fal's errors."""
    assert errors(payload) == [(location, kind)]


def test_unknown_fields_and_nulls_are_accepted() -> None:
    """fal ignores fields it does not know; a null of an optional field is dropped."""
    assert InputValidator(SCHEMA).check({"prompt": "x", "steps": None, "other": 1}) == {"prompt": "x", "other": 1}


@pytest.mark.parametrize("schema", [None, {"type": "objekt"}, {"properties": {"a": {"pattern": "("}}}], ids=str)
def test_an_unusable_schema_accepts_every_object(schema: JsonObject | None) -> None:
    """A fault in a document does not make its endpoint unusable."""
    assert InputValidator(schema).check({"a": "b"}) == {"a": "b"}


def test_errors_do_not_repeat_values_and_end() -> None:
    """A data URI in the wrong place is not sent back, and the list has a limit."""
    validator = InputValidator({"properties": {"list": {"type": "array", "items": {"type": "integer"}}}})

    with pytest.raises(FalError) as refused:
        validator.check({"list": ["data:image/png;base64,AAAA"] * 100})

    assert str(refused.value.body).count("type_error") == MAX_ERRORS
    assert "base64" not in str(refused.value.body)

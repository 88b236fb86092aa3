"""Tests of proxy.caps."""

from __future__ import annotations

import pytest

from proxy.payload.caps import CapError, with_cap
from proxy.strict_json import Json

INTEGER: dict[str, Json] = {"type": "integer"}


@pytest.mark.parametrize(
    ("schema", "limit", "tighter"),
    [
        ({"type": "integer"}, 4, {"type": "integer", "maximum": 4}),
        ({"type": "number", "maximum": 8}, 0.5, {"type": "number", "maximum": 0.5}),
        ({"type": "integer", "maximum": 3}, 4, {"type": "integer", "maximum": 3}),
        ({"type": "integer", "exclusiveMaximum": 3}, 9, {"type": "integer", "exclusiveMaximum": 3, "maximum": 9}),
        ({"type": "string"}, 10, {"type": "string", "maxLength": 10}),
        ({"type": "string", "maxLength": 5}, 10.0, {"type": "string", "maxLength": 5}),
        ({"type": "array", "maxItems": 9}, 2.0, {"type": "array", "maxItems": 2}),
        ({"type": "array"}, 0, {"type": "array", "maxItems": 0}),
        ({"type": ["integer", "null"]}, 4, {"type": ["integer", "null"], "maximum": 4}),
        ({"type": ["integer", "number"]}, 4, {"type": ["integer", "number"], "maximum": 4}),
        ({"enum": [1, 2, 4]}, 2, {"enum": [1, 2]}),
        ({"enum": ["1", "2.5", "4", None]}, 2.5, {"enum": ["1", "2.5", None]}),
        ({"type": "string", "enum": ["5", "10"]}, 5, {"type": "string", "enum": ["5"]}),
        ({"const": 4}, 4, {"const": 4, "enum": [4]}),
        (
            {"anyOf": [INTEGER, {"type": "null"}], "default": None},
            4,
            {"anyOf": [{"type": "integer", "maximum": 4}, {"type": "null"}], "default": None},
        ),
        (
            {"oneOf": [{"enum": ["1", "4"]}, {"type": "integer", "enum": [1, 4]}]},
            2,
            {"oneOf": [{"enum": ["1"]}, {"type": "integer", "enum": [1]}]},
        ),
        (
            {"type": "integer", "anyOf": [{"minimum": 2}]},
            4,
            {"type": "integer", "anyOf": [{"minimum": 2}], "maximum": 4},
        ),
        (
            {"type": "integer", "allOf": [{"multipleOf": 2}]},
            4,
            {"type": "integer", "allOf": [{"multipleOf": 2}], "maximum": 4},
        ),
    ],
    ids=lambda case: str(case)[:48],
)
def test_every_alternative_gets_the_cap(schema: dict[str, Json], limit: float, tighter: dict[str, Json]) -> None:
    """A cap bounds numbers, lengths or choices by type, and what was tighter stays."""
    assert with_cap(schema, limit) == tighter


@pytest.mark.parametrize(
    ("schema", "limit", "why"),
    [
        ({}, 4, "not always"),
        ({"type": "boolean"}, 1, "not always"),
        ({"type": "object"}, 1, "not always"),
        ({"type": "null"}, 1, "not always"),
        ({"type": ["integer", "boolean"]}, 1, "not always"),
        ({"type": ["integer", "string"]}, 1, "not always"),
        ({"minimum": 1}, 4, "not always"),
        ({"allOf": [INTEGER]}, 4, "not always"),
        ({"anyOf": [INTEGER, {"type": "boolean"}]}, 4, "not always"),
        ({"anyOf": [INTEGER, {"type": "string"}]}, 4, "not always"),
        ({"anyOf": [INTEGER, {"minimum": 1}]}, 4, "not always"),
        ({"anyOf": [INTEGER, True]}, 4, "takes anything"),
        ({"enum": ["720p", "1080p"]}, 720, "not every choice"),
        ({"enum": [1, True]}, 4, "not every choice"),
        ({"enum": ["inf", "1"]}, 4, "not every choice"),
        ({"anyOf": [INTEGER, {"enum": ["auto"]}]}, 4, "not every choice"),
        ({"type": "string"}, 1.5, "whole"),
        ({"type": "array"}, -1, "whole"),
        ({"type": "integer", "minimum": 5}, 4, "that small"),
        ({"type": "integer", "exclusiveMinimum": 0}, 0.5, "that small"),
        ({"type": "string", "minLength": 3}, 2, "that small"),
        ({"type": "array", "minItems": 3}, 2, "that small"),
        ({"enum": [1, 2, 4]}, 0, "that small"),
        ({"const": 4}, 2, "that small"),
    ],
    ids=lambda case: str(case)[:48],
)
def test_a_cap_that_could_be_gone_round_is_refused(schema: dict[str, Json], limit: float, why: str) -> None:
    """A cap that would leave one alternative open, or none at all, is rejected."""
    with pytest.raises(CapError, match=why):
        with_cap(schema, limit)


def test_the_schema_itself_is_left_alone() -> None:
    """The loaded schema is shared by every endpoint that names its file."""
    schema: dict[str, Json] = {"anyOf": [{"type": "integer", "maximum": 8}]}

    with_cap(schema, 4)

    assert schema == {"anyOf": [{"type": "integer", "maximum": 8}]}

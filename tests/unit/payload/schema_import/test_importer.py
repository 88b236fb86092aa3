from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import SchemaError
from proxy.payload.policy import EndpointPolicy
from proxy.payload.schema_import.importer import ImportedSchema, import_schemas
from proxy.payload.validation.schema_file import Schema, check_schema

ENDPOINT = "acme/paint/fast"
KEYWORDS = st.sampled_from(
    [
        *("type", "properties", "items", "anyOf", "allOf", "oneOf", "enum", "const", "default", "examples", "example"),
        *(
            "minimum",
            "maximum",
            "exclusiveMinimum",
            "minLength",
            "maxItems",
            "pattern",
            "format",
            "nullable",
            "required",
        ),
        *("$ref", "$defs", "title", "description", "additionalProperties", "x-fal", "prefixItems", "not", "if"),
    ]
)


def openapi(
    input_schema: object, components: Mapping[str, object] | None = None, *, path: str = f"/{ENDPOINT}", **more: object
) -> dict[str, Any]:
    """Returns an OpenAPI document in the form of fal's, with its paths in an unhelpful order."""
    status = {"get": {"responses": {"200": content({"$ref": "#/components/schemas/QueueStatus"})}}}
    return {
        "openapi": "3.0.4",
        "info": {"title": "Queue OpenAPI", "x-fal-metadata": {"endpointId": ENDPOINT}},
        "paths": {
            f"{path}/requests/{{request_id}}/status": status,
            f"{path}/requests/{{request_id}}/cancel": {"put": {"responses": {"200": content({"type": "object"})}}},
            path: {"post": {"requestBody": content(input_schema), "responses": {"200": content({})}}},
            f"{path}/requests/{{request_id}}": {
                "get": {"responses": {"200": content({"$ref": "#/components/schemas/PaintOutput"})}}
            },
        },
        "components": {
            "schemas": {
                "QueueStatus": {"type": "object", "properties": {"status": {"type": "string"}}},
                "PaintOutput": {"type": "object", "properties": {"seed": {"type": "integer"}}},
                **(components or {}),
            }
        },
        **more,
    }


def content(schema: object) -> dict[str, object]:
    return {"description": "", "content": {"application/json": {"schema": schema}}}


def imported(document: object) -> ImportedSchema:
    schemas, problems = import_schemas(json.dumps(document).encode())
    assert problems == []
    (schema,) = schemas
    return schema


def loaded(document: object) -> Schema:
    return check_schema("it", json.dumps(imported(document).document).encode())


def field(schema: object, **components: object) -> Any:
    """Returns the field `a` of an imported document that has *schema* for it."""
    return loaded(openapi({"type": "object", "properties": {"a": schema}}, components)).fields()["a"]


OBJECT = {"type": "object", "properties": {"prompt": {"type": "string"}}, "required": ["prompt"]}
FORMS: dict[str, object] = {
    "bare": openapi({"$ref": "#/components/schemas/PaintInput"}, {"PaintInput": OBJECT}),
    "wrapped": {"metadata": {"category": "x"}, "openapi": openapi(OBJECT)},
    "page": {"models": [{"endpoint_id": ENDPOINT, "openapi": openapi(OBJECT)}], "next_cursor": None},
    "pair": {
        "endpoint": ENDPOINT,
        "input": OBJECT,
        "output": {"$ref": "#/$defs/X", "$defs": {"X": {"type": "object"}}},
    },
}


@pytest.mark.parametrize("document", FORMS.values(), ids=FORMS)
def test_every_form_gives_the_same_schema(document: object) -> None:
    """The endpoint, its input and its output are found in each form that fal publishes."""
    schema = imported(document)

    assert (schema.endpoint, schema.fields, schema.warnings) == (ENDPOINT, ("prompt",), ())
    assert schema.document["required"] == ["prompt"]
    assert loaded(document).output is not None


def test_a_plain_json_schema_has_no_endpoint() -> None:
    """A plain JSON Schema has its output in `$defs.Output`, and gets its name from elsewhere."""
    schema = imported({**OBJECT, "$defs": {"Output": {"type": "object", "properties": {"seed": {"type": "integer"}}}}})

    assert (schema.endpoint, schema.fields) == (None, ("prompt",))
    assert "Output" in schema.document["$defs"]  # type: ignore[operator]


def test_one_document_a_line() -> None:
    """A file of lines gives one schema for each."""
    lines = [{"endpoint": f"acme/a{i}", "input": OBJECT, "output": {}} for i in range(3)]
    schemas, _ = import_schemas("\n".join(map(json.dumps, lines)).encode())

    assert [schema.endpoint for schema in schemas] == ["acme/a0", "acme/a1", "acme/a2"]


def test_the_post_is_found_by_structure() -> None:
    """The path of the POST need not be the endpoint's id; other operations with a body do not count."""
    document = openapi(OBJECT, path="/v1/something")
    document["paths"] = {
        "/webhooks/{id}": {"post": {"requestBody": content({"type": "object", "properties": {"x": {}}})}},
        **document["paths"],
    }

    assert imported(document).endpoint == ENDPOINT
    assert imported(document).fields == ("prompt",)


def test_a_document_without_an_id_is_called_by_its_path() -> None:
    """Without metadata the path of the POST is the id."""
    document = openapi(OBJECT)
    del document["info"]["x-fal-metadata"]

    assert imported(document).endpoint == ENDPOINT


def test_a_run_document_has_its_output_at_the_post() -> None:
    """Documents of fal.run have no job paths: the answer of the POST is the output."""
    document = {
        "openapi": "3.0.4",
        "info": {},
        "paths": {f"/{ENDPOINT}": {"post": {"requestBody": content(OBJECT), "responses": {"200": content(OBJECT)}}}},
    }

    assert loaded(document).output == {**OBJECT}


def test_bodies_and_responses_can_be_references() -> None:
    """OpenAPI keeps them under `components` too."""
    document = openapi(OBJECT)
    document["components"]["requestBodies"] = {"Body": content(OBJECT)}
    document["paths"][f"/{ENDPOINT}"]["post"]["requestBody"] = {"$ref": "#/components/requestBodies/Body"}

    assert imported(document).fields == ("prompt",)


SIZE = {"type": "object", "properties": {"width": {"type": "integer"}}}
REFERENCES = {
    "plain": ({"$ref": "#/components/schemas/Size"}, {"Size": SIZE}),
    "slash": ({"$ref": "#/components/schemas/acme~1Size"}, {"acme/Size": SIZE}),
    "percent": ({"$ref": "#/components/schemas/acme%2FSize"}, {"acme/Size": SIZE}),
    "tilde": ({"$ref": "#/components/schemas/a~0b"}, {"a~b": SIZE}),
    "space": ({"$ref": "#/components/schemas/A%20B"}, {"A B": SIZE}),
    "all-of": ({"allOf": [{"$ref": "#/components/schemas/Size"}]}, {"Size": SIZE}),
    "chain": ({"$ref": "#/components/schemas/A"}, {"A": {"$ref": "#/components/schemas/Size"}, "Size": SIZE}),
}


@pytest.mark.parametrize(("schema", "components"), REFERENCES.values(), ids=REFERENCES)
def test_references_of_every_spelling(schema: object, components: dict[str, object]) -> None:
    """Escapes and percent-encoding are decoded; an allOf of one reference is that reference."""
    assert field(schema, **components) == SIZE


def test_definitions_inside_of_a_schema_are_found() -> None:
    """Pydantic's `$defs` come along inside of a component or the output, whose references lost a root."""
    inner = {"type": "object", "properties": {"size": {"$ref": "#/$defs/Size"}}, "$defs": {"Size": SIZE}}
    output = {
        "type": "object",
        "properties": {"image": {"$ref": "#/$defs/Image"}},
        "$defs": {"Image": {"type": "object"}},
    }
    component = loaded(openapi({"$ref": "#/components/schemas/Input"}, {"Input": inner}))
    plain = imported({**OBJECT, "$defs": {"Output": output}})

    assert component.fields() == {"size": SIZE}
    assert plain.warnings == ()


def test_siblings_of_a_reference_win() -> None:
    """A title or default beside a reference, or beside an allOf of one, is the field's own."""
    beside = {"$ref": "#/components/schemas/Size", "title": "Own", "default": {"width": 1}}
    wrapped = {"allOf": [{"$ref": "#/components/schemas/Size"}], "title": "Own", "default": {"width": 1}}

    for schema in (beside, wrapped):
        assert field(schema, Size={**SIZE, "title": "Shared"}) == {**SIZE, "title": "Own", "default": {"width": 1}}


def test_two_definitions_of_one_name_stay_apart() -> None:
    """Definitions of one last name are kept apart, and an `Output` of the input is not the output."""
    document = openapi(
        {
            "type": "object",
            "properties": {
                "a": {"$ref": "#/components/schemas/a~1Size"},
                "b": {"$ref": "#/components/schemas/b~1Size"},
                "c": {"$ref": "#/components/schemas/Output"},
            },
        },
        {"a/Size": {"type": "string"}, "b/Size": {"type": "integer"}, "Output": {"type": "boolean"}},
    )

    assert {name: field["type"] for name, field in loaded(document).fields().items()} == {
        "a": "string",
        "b": "integer",
        "c": "boolean",
    }
    assert loaded(document).output == {"type": "object", "properties": {"seed": {"type": "integer"}}}


ODDITIES: dict[str, tuple[object, object]] = {
    "nullable": ({"type": "string", "nullable": True}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
    "nullable-enum": (
        {"enum": ["a"], "type": "string", "nullable": True, "title": "T", "default": None},
        {"title": "T", "default": None, "anyOf": [{"enum": ["a"], "type": "string"}, {"type": "null"}]},
    ),
    "nullable-any-of": (
        {"anyOf": [{"type": "string"}, {"type": "null"}], "nullable": True},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
    ),
    "nullable-any-of-without": (
        {"anyOf": [{"type": "string"}], "nullable": True},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
    ),
    "null-examples": ({"type": "string", "examples": None}, {"type": "string"}),
    "null-in-examples": ({"type": "string", "examples": [None, "a"]}, {"type": "string", "examples": ["a"]}),
    "one-example": ({"type": "string", "example": "a"}, {"type": "string", "examples": ["a"]}),
    "examples-by-name": (
        {"type": "string", "examples": {"one": {"value": "a"}}},
        {"type": "string", "examples": ["a"]},
    ),
    "numeric-exclusive-minimum": (
        {"type": "number", "exclusiveMinimum": 0, "maximum": 2},
        {"type": "number", "maximum": 2, "exclusiveMinimum": 0},
    ),
    "flag-exclusive-minimum": (
        {"type": "number", "minimum": 0, "exclusiveMinimum": True},
        {"type": "number", "exclusiveMinimum": 0},
    ),
    "stray": (
        {"type": "integer", "le": 5, "ge": 1, "step": 1, "min": 1, "max": 5, "xml": {}, "discriminator": {}},
        {"type": "integer"},
    ),
    "marks": (
        {"type": "string", "x-fal-file-input": True, "x-fal": {"timeout": 20}, "ui": {"field": "audio"}},
        {"type": "string", "x-fal-file-input": True, "x-fal": {"timeout": 20}, "ui": {"field": "audio"}},
    ),
    "tuple": (
        {"type": "array", "items": [{"type": "integer"}, {"type": "string"}]},
        {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]},
    ),
    "null-description": ({"type": "string", "description": None, "title": 7}, {"type": "string"}),
}


@pytest.mark.parametrize(("given", "expected"), ODDITIES.values(), ids=ODDITIES)
def test_oddities_with_one_meaning_are_rewritten(given: object, expected: object) -> None:
    """OpenAPI 3.0's and fal's own spellings become those of the draft, without a warning."""
    document = openapi({"type": "object", "properties": {"a": given}})

    assert imported(document).warnings == ()
    assert loaded(document).fields()["a"] == expected


FAULTS: dict[str, tuple[object, object, str]] = {
    "dangling": ({"$ref": "#/components/schemas/None"}, {}, "refers to #/components/schemas/None"),
    "elsewhere": ({"$ref": "https://example.com/a.json"}, {}, "refers to https://example.com/a.json"),
    "number-as-text": ({"type": "integer", "maximum": "8"}, {"type": "integer", "maximum": 8}, "maximum: was text"),
    "bad-bound": ({"type": "integer", "maximum": "many"}, {"type": "integer"}, "maximum: has a value"),
    "bad-type": ({"type": "file"}, {}, "type: is not a type of JSON"),
    "empty-enum": ({"type": "string", "enum": []}, {"type": "string"}, "enum: has a value"),
    "look-ahead": ({"type": "string", "pattern": "^(?=a)"}, {"type": "string"}, "pattern: has a value"),
    "required-flag": ({"type": "string", "required": True}, {"type": "string"}, "required: has a value"),
    "default-number": ({"type": "string", "default": 5}, {"type": "string", "default": "5"}, "default: 5 does not fit"),
    "default-text": ({"type": "integer", "default": "5"}, {"type": "integer", "default": 5}, "taken as 5"),
    "default-flag": ({"type": "boolean", "default": "true"}, {"type": "boolean", "default": True}, "taken as True"),
    "default-null": ({"type": "string", "default": None}, {"type": "string"}, "default: None does not fit"),
    "default-choice": ({"enum": ["a"], "default": "b"}, {"enum": ["a"]}, "'b' does not fit and was dropped"),
    "default-bound": ({"type": "integer", "maximum": 5, "default": 6}, {"type": "integer", "maximum": 5}, "6 does not"),
}


@pytest.mark.parametrize(("given", "expected", "warning"), FAULTS.values(), ids=FAULTS)
def test_a_fault_costs_its_keyword_and_a_warning(given: object, expected: object, warning: str) -> None:
    """A faulty keyword is dropped or replaced by "any value", and the rest of the document stays."""
    schema = imported(openapi({"type": "object", "properties": {"a": given, "b": {"type": "string"}}}))

    assert [warning in text for text in schema.warnings] == [True]
    assert schema.document["properties"] == {"a": expected, "b": {"type": "string"}}


def test_a_circle_of_references_ends() -> None:
    """A definition that contains itself takes any value from there on."""
    node = {"type": "object", "properties": {"child": {"$ref": "#/components/schemas/Node"}}}
    schema = imported(
        openapi({"type": "object", "properties": {"a": {"$ref": "#/components/schemas/Node"}}}, {"Node": node})
    )

    assert len(schema.warnings) == 1
    assert "in a circle" in schema.warnings[0]


def test_required_names_of_no_property_are_corrected() -> None:
    """A required field that does not exist would make every request invalid."""
    schema = imported(openapi({**OBJECT, "required": ["prompt", "gone"]}))

    assert schema.document["required"] == ["prompt"]
    assert "names gone" in schema.warnings[0]


def test_an_input_composed_of_several_objects_is_one() -> None:
    """An allOf of objects, and a reference with properties beside it, are joined at the top."""
    parts = [{"$ref": "#/components/schemas/Base"}, {"type": "object", "properties": {"b": {}}, "required": ["b"]}]
    schema = imported(openapi({"allOf": parts}, {"Base": OBJECT}))

    assert (schema.fields, schema.document["required"]) == (("prompt", "b"), ["prompt", "b"])


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, {"type": "object", "properties": {}}, {"type": "string"}])
def test_an_untyped_input_is_a_problem_with_the_way_out(schema: object) -> None:
    """A document without input fields is a problem; the message has the key that lists it anyway."""
    schemas, problems = import_schemas(json.dumps(openapi(schema)).encode())

    assert schemas == []
    assert problems == [
        f'{ENDPOINT}: the document lists no input fields; list the endpoint with schema = "any" instead'
    ]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "is not JSON"),
        (b"<html>", "is not JSON"),
        (b"[]", "none of the forms"),
        (b"null", "none of the forms"),
        (b'{"a": 1}', "none of the forms"),
        (b'{"openapi": "3.0.4", "paths": {}}', "no POST operation"),
        (b'{"models": [{"endpoint_id": "acme/a"}]}', "ask for it with expand=openapi-3.0"),
    ],
)
def test_other_files_are_refused_with_a_reason(raw: bytes, message: str) -> None:
    """The message has what can be imported, or what is missing."""
    with pytest.raises(SchemaError, match=message):
        import_schemas(raw)


def test_an_imported_schema_is_imported_to_itself() -> None:
    """The files that import writes can be read by it again."""
    document = imported(FORMS["bare"]).document

    assert imported(document).document == document


def test_an_imported_schema_admits_and_refuses() -> None:
    """The policy of an imported document works as that of a shipped schema."""
    policy = EndpointPolicy(ENDPOINT, loaded(FORMS["page"]))

    assert policy.admit(b'{"prompt": "a"}').raw == b'{"prompt":"a"}'


json_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(-1e9, 1e9), st.text("ab#/$", max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYWORDS, inner, max_size=4)),
    max_leaves=12,
)


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(st.sampled_from(["a", "b"]), st.dictionaries(KEYWORDS, json_values, max_size=5), min_size=1))
def test_no_document_breaks_the_import(fields: dict[str, object]) -> None:
    """Keywords with values of any form give a loadable schema or a problem in words."""
    document = openapi({"type": "object", "properties": fields}, {"Size": SIZE})
    schemas, problems = import_schemas(json.dumps(document).encode())

    assert len(schemas) + len(problems) == 1
    for schema in schemas:
        check_schema("it", json.dumps(schema.document).encode())

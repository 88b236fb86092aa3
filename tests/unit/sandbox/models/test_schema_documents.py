from __future__ import annotations

import json

import pytest

from proxy.sandbox.json_types import JsonObject
from proxy.sandbox.models.schema_documents import DocumentError, ModelSchema, parse_document

INPUT: JsonObject = {"type": "object", "properties": {"prompt": {"type": "string"}}, "required": ["prompt"]}
OUTPUT: JsonObject = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
STATUS: JsonObject = {"type": "object", "properties": {"status": {"type": "string"}, "request_id": {"type": "string"}}}
CANCEL: JsonObject = {"type": "object", "properties": {"success": {"type": "boolean"}}}


def content(schema: object) -> dict[str, object]:
    return {"content": {"application/json": {"schema": schema}}}


def openapi(**paths: object) -> dict[str, object]:
    """Returns a document in fal's form; *paths* replace its paths."""
    job = "/some/other/path/requests/{request_id}"
    return {
        "openapi": "3.0.4",
        "components": {"schemas": {"AnInput": INPUT, "AnOutput": OUTPUT, "QueueStatus": STATUS}},
        "paths": paths
        or {
            f"{job}/status": {"get": {"responses": {"200": content({"$ref": "#/components/schemas/QueueStatus"})}}},
            f"{job}/cancel": {"put": {"responses": {"200": content(CANCEL)}}},
            "/some/other/path": {
                "post": {
                    "requestBody": content({"$ref": "#/components/schemas/AnInput"}),
                    "responses": {"200": content({"$ref": "#/components/schemas/QueueStatus"})},
                }
            },
            job: {"get": {"responses": {"200": content({"$ref": "#/components/schemas/AnOutput"})}}},
        },
    }


def parse(document: object) -> ModelSchema:
    return parse_document(json.dumps(document).encode())


@pytest.mark.parametrize("wrap", [False, True], ids=["bare", "wrapped"])
def test_an_openapi_document_is_read_by_structure(*, wrap: bool) -> None:
    """Neither the paths nor the names of the schemas matter; bodies of the queue are no output."""
    document = {"metadata": {"status": "active"}, "openapi": openapi()} if wrap else openapi()

    assert parse(document) == ModelSchema(INPUT, OUTPUT)


def test_a_synchronous_document_answers_in_its_post() -> None:
    """A document of the direct host has the output in the answer of its POST."""
    post = {"requestBody": content(INPUT), "responses": {"200": content(OUTPUT)}}

    assert parse(openapi(**{"/x": {"post": post}})) == ModelSchema(INPUT, OUTPUT)


def test_a_plain_schema_has_its_output_in_its_definitions() -> None:
    """The form that `schema import` writes: the input itself, and `$defs.Output`."""
    assert parse({**INPUT, "$defs": {"Output": OUTPUT}}) == ModelSchema(INPUT, OUTPUT)
    assert parse(INPUT) == ModelSchema(INPUT, None)


@pytest.mark.parametrize("document", [{}, {"type": "object", "additionalProperties": True}, openapi(**{"/x": {}})])
def test_a_document_without_fields_has_no_schema(document: object) -> None:
    """An untyped endpoint stays one: it is echoed."""
    assert parse(document) == ModelSchema(None, None)


@pytest.mark.parametrize(("raw", "message"), [(b"{", "is not JSON"), (b"[]", "is not a JSON object")])
def test_a_file_that_is_no_object_is_an_error(raw: bytes, message: str) -> None:
    """The error names the fault."""
    with pytest.raises(DocumentError, match=message):
        parse_document(raw)


@pytest.mark.parametrize(
    ("field", "inlined"),
    [
        ({"$ref": "#/$defs/Size"}, {"type": "integer"}),
        ({"$ref": "#/$defs/Size", "default": 1}, {"type": "integer", "default": 1}),
        ({"$ref": "#/$defs/a~1b%2Fc"}, {"type": "string"}),
        ({"$ref": "#/$defs/Gone"}, {}),
        ({"$ref": "https://elsewhere.example/schema"}, {}),
        ({"allOf": [{"$ref": "#/$defs/Size"}], "title": "Size"}, {"type": "integer", "title": "Size"}),
        ({"type": "string", "nullable": True}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ({"type": "array", "items": {"$ref": "#/$defs/Size"}}, {"type": "array", "items": {"type": "integer"}}),
        (
            {"type": "object", "required": ["a", "b"], "properties": {"a": {"default": 1}, "b": {}}},
            {"type": "object", "required": ["b"], "properties": {"a": {"default": 1}, "b": {}}},
        ),
    ],
    ids=["reference", "sibling", "escaped", "dangling", "remote", "all of one", "nullable", "items", "defaulted"],
)
def test_references_and_older_forms_are_replaced(field: JsonObject, inlined: JsonObject) -> None:
    """The result is a plain schema; a reference without a target accepts any value."""
    definitions: JsonObject = {"Size": {"type": "integer"}, "a/b/c": {"type": "string"}}

    schema = parse({"type": "object", "properties": {"field": field}, "$defs": definitions})

    assert schema.input == {"type": "object", "properties": {"field": inlined}}


def test_a_circle_of_references_ends() -> None:
    """Past the depth limit any value is accepted."""
    tree = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}}}

    text = json.dumps(parse({**tree, "$defs": {"Tree": tree}}).input)

    assert text.count("children") > 3
    assert "$ref" not in text

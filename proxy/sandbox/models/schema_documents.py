"""Input and output schemas of one endpoint, read from a schema file or an OpenAPI document.

Three forms are accepted. The first is an OpenAPI document as fal publishes it, the second the same inside
`{"metadata", "openapi"}`. The third is a plain JSON Schema of the input whose `$defs` may hold an `Output`.

In an OpenAPI document the input is the JSON body of the POST operation. The output is the JSON answer of the GET
operation on a job. Both are found by structure, since the paths need not contain the endpoint's id.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from proxy.sandbox.json_types import Json, JsonObject, as_list, as_object

# Deeper levels and further subschemas accept any value: a reference in a circle would never end.
MAX_DEPTH = 24
MAX_SUBSCHEMAS = 20_000

_ONE_SCHEMA = frozenset({"additionalProperties", "items", "not", "contains"})
_SCHEMA_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED_SCHEMAS = frozenset({"properties", "patternProperties"})
_DEFINITIONS = frozenset({"$defs", "definitions", "components", "$schema", "$id"})
# Bodies of the queue itself: its status object, and the older answer of a cancel.
_QUEUE_BODIES = (frozenset({"status", "request_id"}), frozenset({"success"}))


class DocumentError(ValueError):
    """A file that is no JSON object. The message names the fault."""


@dataclass(frozen=True, slots=True)
class ModelSchema:
    """Schemas without references. None stands for a schema that the document does not have."""

    input: JsonObject | None
    output: JsonObject | None


def parse_document(raw: bytes) -> ModelSchema:
    """Returns the schemas in the file *raw*. Raises DocumentError where it is no JSON object."""
    try:
        document: Json = json.loads(raw)
    except (ValueError, RecursionError) as exc:
        raise DocumentError("is not JSON") from exc
    if not isinstance(document, dict):
        raise DocumentError("is not a JSON object")
    document = as_object(document["openapi"]) if isinstance(document.get("openapi"), dict) else document
    inliner = _Inliner(document)
    if isinstance(document.get("paths"), dict):
        return ModelSchema(_first_object(_request_bodies(document), inliner), _job_output(document, inliner))
    output: Json = {"$ref": "#/$defs/Output"} if "Output" in as_object(document.get("$defs")) else None
    return ModelSchema(_object_schema(inliner.inline(document)), _object_schema(inliner.inline(output)))


def _object_schema(schema: Json) -> JsonObject | None:
    """Returns *schema* where it lists properties, else None: `{}` and a bare `object` state nothing."""
    return schema if isinstance(schema, dict) and as_object(schema.get("properties")) else None


def _first_object(schemas: Iterator[Json], inliner: _Inliner) -> JsonObject | None:
    inlined = (_object_schema(inliner.inline(schema)) for schema in schemas)
    return next((schema for schema in inlined if schema is not None), None)


def _operations(document: JsonObject, method: str) -> Iterator[tuple[str, JsonObject]]:
    for path, item in as_object(document["paths"]).items():
        operation = as_object(item).get(method)
        if isinstance(operation, dict):
            yield path, operation


def _request_bodies(document: JsonObject) -> Iterator[Json]:
    for _, operation in _operations(document, "post"):
        yield _json_content(as_object(operation.get("requestBody")))


def _job_output(document: JsonObject, inliner: _Inliner) -> JsonObject | None:
    """Returns the output: the first answer that is no body of the queue.

    The answers are those of a GET on a job, of another GET, and of the POST, in this order.
    """
    reads = sorted(_operations(document, "get"), key=lambda item: not item[0].endswith("}"))
    operations = [operation for _, operation in [*reads, *_operations(document, "post")]]
    for operation in operations:
        schema = _first_object(_answers(operation), inliner)
        if schema is not None and not any(names <= as_object(schema["properties"]).keys() for names in _QUEUE_BODIES):
            return schema
    return None


def _answers(operation: JsonObject) -> Iterator[Json]:
    for status, response in as_object(operation.get("responses")).items():
        if status.startswith("2") or status == "default":
            yield _json_content(as_object(response))


def _json_content(message: JsonObject) -> Json:
    for media, content in as_object(message.get("content")).items():
        if "json" in media:
            return as_object(content).get("schema")
    return None


class _Inliner:
    """Copies schemas with references replaced by what they refer to."""

    def __init__(self, document: JsonObject) -> None:
        self._document = document
        self._left = MAX_SUBSCHEMAS

    def inline(self, schema: Json, depth: int = 0) -> Json:
        """Returns a copy in the form of JSON Schema 2020-12. A reference without a target accepts any value."""
        self._left -= 1
        if not isinstance(schema, dict):
            return schema
        if depth > MAX_DEPTH or self._left < 0:
            return {}
        if "$ref" in schema:
            target = as_object(self._target(schema["$ref"]))
            return self.inline({**target, **{key: value for key, value in schema.items() if key != "$ref"}}, depth + 1)
        copy = {key: self._keyword(key, value, depth + 1) for key, value in schema.items() if key not in _DEFINITIONS}
        return _nullable(_merge_one_part(_required_without_defaults(copy)))

    def _keyword(self, keyword: str, value: Json, depth: int) -> Json:
        if keyword in _ONE_SCHEMA:
            return self.inline(value, depth)
        if keyword in _SCHEMA_LISTS:
            return [self.inline(item, depth) for item in as_list(value)]
        if keyword in _NAMED_SCHEMAS:
            return {name: self.inline(item, depth) for name, item in as_object(value).items()}
        return value

    def _target(self, reference: Json) -> Json:
        """Returns the part of the document at a JSON pointer (RFC 6901), None where there is none."""
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return None
        node: Json = self._document
        for step in reference[2:].split("/"):
            node = as_object(node).get(unquote(step).replace("~1", "/").replace("~0", "~"))
        return node


def _required_without_defaults(schema: JsonObject) -> JsonObject:
    """Removes fields with a default from `required`: fal lists some of them, and fills them in."""
    if "required" not in schema:
        return schema
    fields = as_object(schema.get("properties"))
    names = [name for name in as_list(schema["required"]) if isinstance(name, str)]
    return {**schema, "required": [name for name in names if "default" not in as_object(fields.get(name))]}


def _merge_one_part(schema: JsonObject) -> JsonObject:
    """Merges an `allOf` of one schema into its parent: older Pydantic writes a reference with siblings so."""
    parts = as_list(schema.get("allOf"))
    if len(parts) != 1:
        return schema
    return {**as_object(parts[0]), **{key: value for key, value in schema.items() if key != "allOf"}}


def _nullable(schema: JsonObject) -> JsonObject:
    """Replaces `nullable` of OpenAPI 3.0 by an alternative."""
    if schema.get("nullable") is not True:
        return schema
    plain = {key: value for key, value in schema.items() if key != "nullable"}
    return {"anyOf": [plain, {"type": "null"}], **{key: plain[key] for key in ("title", "default") if key in plain}}

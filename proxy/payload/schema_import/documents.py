"""Documents that describe fal endpoints, recognized by their structure.

Four forms: an OpenAPI document, the same in `{"metadata", "openapi"}`, a page of fal's models API (`{"models": […]}`),
and a JSON Schema of the input. The `$defs` of the last may hold the `Output`. `{"endpoint", "input", "output"}` and one
document a line (JSON Lines) are read too. The POST of an OpenAPI document may have any path: it is found by its body.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from proxy.errors import MalformedJson, SchemaError
from proxy.fal_api.endpoint_ids import endpoint_id
from proxy.payload.schema_import.references import Definitions
from proxy.strict_json import Json, parse

MAX_BYTES = 64 * 1024 * 1024
_MAX_NODES = 5_000_000
_JOB_PATH = "/requests/{"
_FORMS = (
    "is none of the forms that can be imported: an OpenAPI document, {metadata, openapi}, a page of fal's models API, "
    "a JSON Schema with properties"
)


@dataclass(frozen=True, slots=True)
class ModelDocument:
    """The input and output schema of one endpoint, with references into *root*.

    *endpoint* is None where the document does not name it. *output* is None where it has none.
    """

    endpoint: str | None
    input: Json
    output: Json
    root: Mapping[str, Json]


def read_documents(raw: bytes) -> list[ModelDocument]:
    """Returns the documents in the file *raw*. Raises SchemaError where it has none of the forms."""
    if len(raw) > MAX_BYTES:
        raise SchemaError(f"is larger than {MAX_BYTES >> 20} MiB")
    try:
        values = [parse(raw, max_nodes=_MAX_NODES)]
    except MalformedJson as error:
        values = list(_json_lines(raw, error))
    return [document for value in values for document in _documents(value)]


def _json_lines(raw: bytes, error: MalformedJson) -> Iterator[Json]:
    lines = raw.splitlines()
    if not raw.strip():
        raise SchemaError("is not JSON (it is empty)")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield parse(line, max_nodes=_MAX_NODES)
        except MalformedJson as exc:
            place = f"line {number}: {exc}" if number > 1 else str(error)
            raise SchemaError(f"is not JSON ({place})") from exc


def _documents(value: Json) -> Iterator[ModelDocument]:
    if not isinstance(value, dict):
        raise SchemaError(_FORMS)
    models = value.get("models")
    if isinstance(models, list):
        for model in models:
            yield from _page_entry(model)
    elif isinstance(openapi := value.get("openapi"), dict):
        yield from _openapi(openapi, _metadata_id(value) or _metadata_id(value.get("metadata")))
    elif isinstance(value.get("paths"), dict):
        yield from _openapi(value, None)
    elif isinstance(value.get("endpoint"), str) and "input" in value:
        yield _pair(value)
    elif {"properties", "$ref", "allOf"} & value.keys() or value.get("type") == "object":
        yield _json_schema(value)
    else:
        raise SchemaError(_FORMS)


def _page_entry(model: Json) -> Iterator[ModelDocument]:
    endpoint = _metadata_id(model)
    if not isinstance(model, dict) or not isinstance(model.get("openapi"), dict):
        raise SchemaError(f"the entry {endpoint or '?'} has no OpenAPI document; ask for it with expand=openapi-3.0")
    openapi = model["openapi"]
    yield from _openapi(openapi if isinstance(openapi, dict) else {}, endpoint)


def _openapi(document: Mapping[str, Json], endpoint: str | None) -> Iterator[ModelDocument]:
    definitions = Definitions(document)
    bodies = list(_request_bodies(document, definitions))
    if not bodies:
        raise SchemaError("the document has no POST operation with a JSON body")
    path, schema = _preferred(bodies, document)
    info = document.get("info")
    metadata = info.get("x-fal-metadata") if isinstance(info, dict) else None
    name = _metadata_id(metadata) or endpoint or _as_id(path)
    yield ModelDocument(name, schema, _output(document, path, definitions), document)


def _preferred(bodies: list[tuple[str, Json]], document: Mapping[str, Json]) -> tuple[str, Json]:
    """Returns the operation that starts a job: one with jobs below its path, else one without parameters."""
    paths = document.get("paths")
    names = list(paths) if isinstance(paths, dict) else []
    for path, schema in bodies:
        if any(name.startswith(f"{path.rstrip('/')}{_JOB_PATH}") for name in names):
            return path, schema
    return next((body for body in bodies if "{" not in body[0]), bodies[0])


def _request_bodies(document: Mapping[str, Json], definitions: Definitions) -> Iterator[tuple[str, Json]]:
    for path, operation in _operations(document, "post", definitions):
        schema = _json_content(definitions.resolve(operation.get("requestBody")))
        if schema is not None:
            yield path, schema


def _output(document: Mapping[str, Json], start: str, definitions: Definitions) -> Json:
    """Returns the schema of the result: of the GET on a job, else of the POST itself (fal.run documents)."""
    for path, operation in _operations(document, "get", definitions):
        if _JOB_PATH in path and path.rstrip("/").endswith("}"):
            return _success(operation, definitions)
    if any(_JOB_PATH in path for path, _ in _operations(document, "get", definitions)):
        return None
    posts = (operation for path, operation in _operations(document, "post", definitions) if path == start)
    return _success(next(posts, {}), definitions)


def _operations(
    document: Mapping[str, Json], method: str, definitions: Definitions
) -> Iterator[tuple[str, dict[str, Json]]]:
    paths = document.get("paths")
    for path, item in (paths if isinstance(paths, dict) else {}).items():
        resolved = definitions.resolve(item)
        operation = resolved.get(method) if isinstance(resolved, dict) else None
        if isinstance(operation, dict):
            yield path, operation


def _success(operation: dict[str, Json], definitions: Definitions) -> Json:
    responses = operation.get("responses")
    if not isinstance(responses, dict):
        return None
    for status in ("200", "201", "2XX", "default"):
        if status in responses:
            return _json_content(definitions.resolve(responses[status]))
    return None


def _json_content(carrier: Json) -> Json:
    """Returns the schema of the JSON content of a request body or response, None where it has none."""
    content = carrier.get("content") if isinstance(carrier, dict) else None
    for media_type, value in (content if isinstance(content, dict) else {}).items():
        if "json" in media_type and isinstance(value, dict) and value.get("schema") is not None:
            return value["schema"]
    return None


def _pair(value: dict[str, Json]) -> ModelDocument:
    """Returns a document of input and output by themselves. Each half has its own `$defs`."""
    root: dict[str, Json] = {"input": value["input"], "output": value.get("output")}
    endpoint = _as_id(str(value["endpoint"]))
    return ModelDocument(endpoint, value["input"], value.get("output") or None, root)


def _json_schema(value: dict[str, Json]) -> ModelDocument:
    defs = value.get("$defs")
    output = defs.get("Output") if isinstance(defs, dict) else None
    return ModelDocument(None, value, output, value)


def _metadata_id(metadata: Json) -> str | None:
    if not isinstance(metadata, dict):
        return None
    for name in ("endpointId", "endpoint_id", "endpoint", "id"):
        if isinstance(text := metadata.get(name), str) and (found := _as_id(text)) is not None:
            return found
    url = metadata.get("model_url")
    return _as_id(urlsplit(url).path) if isinstance(url, str) else None


def _as_id(text: str) -> str | None:
    try:
        return endpoint_id(text.strip("/"))
    except ValueError:
        return None

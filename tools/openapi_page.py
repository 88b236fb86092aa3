"""Renderer of an OpenAPI document as a Markdown page: operations, schemas and error responses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

Node = Mapping[str, Any]
_METHODS = ("get", "post", "put", "delete")


class OpenApiPage:
    """A document, and its parts as lines of Markdown."""

    def __init__(self, document: Node) -> None:
        self._document = document

    def text(self, introduction: str) -> str:
        """Returns the page."""
        lines = [introduction]
        paths = self._document["paths"]
        for path in sorted(paths, key=lambda path: not path.startswith("/queue/")):  # jobs first, each group as it is
            methods = paths[path]
            for method in _METHODS:
                if method in methods:
                    lines += self._operation(method, path, methods[method])
        components = self._document["components"]
        lines += ["## Schemas", ""]
        for name, schema in components["schemas"].items():
            lines += [f"### {name}", "", *self._fields(schema)]
        lines += ["## Error responses", "", "| status | when | `error_type` of the example |", "|---|---|---|"]
        for name, response in components["responses"].items():
            example = response["content"]["application/json"].get("example", {})
            error = f"`{example['error_type']}`" if "error_type" in example else "fal's `detail[]`"
            lines.append(f"| {name.removeprefix('Error')} | {_cell(response['description'])} | {error} |")
        return "\n".join([*lines, ""])

    def _operation(self, method: str, path: str, operation: Node) -> Iterator[str]:
        yield from (f"## {operation['summary']}", "", f"`{method.upper()} {path}`", "", operation["description"], "")
        parameters = [self._resolved(parameter) for parameter in operation.get("parameters", ())]
        if parameters:
            yield from ("| parameter | in | value | meaning |", "|---|---|---|---|")
            for parameter in parameters:
                value = self._type(parameter["schema"])
                yield f"| `{parameter['name']}` | {parameter['in']} | {value} | {_cell(parameter['description'])} |"
            yield ""
        if "requestBody" in operation:
            yield from ("Body:", "")
            yield from self._fields(operation["requestBody"]["content"]["application/json"]["schema"])
        yield from ("| status | answer |", "|---|---|")
        responses = operation["responses"]
        for status, response in responses.items():
            if "$ref" not in response:
                yield f"| {status} | {self._response(response)} |"
        errors = [status for status, response in responses.items() if "$ref" in response]
        if errors:
            yield f"| {', '.join(errors)} | [error](#error-responses) |"
        yield ""

    def _response(self, response: Node) -> str:
        content = response.get("content", {})
        media = ", ".join(f"`{name}`" for name in content if name != "application/json")
        schema = content.get("application/json", {}).get("schema")
        body = f": {self._type(schema)}" if schema and "$ref" in schema else ""
        return f"{_cell(response['description'])}{body}{f' ({media})' if media else ''}"

    def _fields(self, schema: Node) -> Iterator[str]:
        if "$ref" in schema:
            yield from (f"A {self._type(schema)}.", "")
            return
        if description := schema.get("description"):
            yield from (_cell(description), "")
        if not schema.get("properties"):
            yield from (f"{self._type(schema).capitalize()}.", "")
            return
        required = set(schema.get("required", ()))
        yield from ("| field | value | default | meaning |", "|---|---|---|---|")
        for name, field in schema["properties"].items():
            default = "required" if name in required else _default(field)
            yield f"| `{name}` | {self._type(field)} | {default} | {_cell(field.get('description', ''))} |"
        yield ""

    def _type(self, schema: Node) -> str:
        if "$ref" in schema:
            name = str(schema["$ref"]).rpartition("/")[2]
            return f"[{name}](#{name.lower()})"
        if "enum" in schema:
            return ", ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
        if "const" in schema:
            return f"`{json.dumps(schema['const'])}`"
        for choice in ("anyOf", "oneOf"):
            if choice in schema:
                return " or ".join(self._type(branch) for branch in schema[choice])
        kind = schema.get("type", "any value")
        if kind == "array":
            return f"list of {self._type(schema.get('items', {}))}"
        if kind == "object" and "properties" in schema:
            return (
                "{" + ", ".join(f"`{name}`: {self._type(field)}" for name, field in schema["properties"].items()) + "}"
            )
        return " or ".join(kind) if isinstance(kind, list) else str(kind) + _bounds(schema)

    def _resolved(self, node: Node) -> Node:
        if "$ref" not in node:
            return node
        target: Any = self._document
        for step in str(node["$ref"]).removeprefix("#/").split("/"):
            target = target[step]
        resolved: Node = target
        return resolved


def _bounds(schema: Node) -> str:
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "maxLength": "at most"}
    return "".join(f", {words[key]} {schema[key]}" for key in words if key in schema)


def _default(field: Node) -> str:
    return f"`{json.dumps(field['default'])}`" if "default" in field else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")

"""Parts of an OpenAPI operation that all operations share."""

from __future__ import annotations

import re

from proxy.strict_json import Json

_UNUSUAL = re.compile(r"[^A-Za-z0-9]+")


def operation(name: str, tag: str, summary: str, description: str) -> dict[str, Json]:
    """Returns the texts of an operation. *name* becomes its id, of letters, digits and underscores."""
    return {
        "operationId": _UNUSUAL.sub("_", name).strip("_"),
        "summary": summary,
        "description": description,
        "tags": [tag],
    }


def json_response(description: str, schema: Json, example: Json = None) -> Json:
    """Returns a response with a JSON body of *schema*."""
    content: dict[str, Json] = {"schema": schema}
    if example is not None:
        content["example"] = example
    return {"description": description, "content": {"application/json": content}}


def component(name: str) -> Json:
    """Returns a reference to the schema *name* of the components."""
    return {"$ref": f"#/components/schemas/{name}"}

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from support.in_process_gateway import APP, ENDPOINT, open_gateway, small_components

from proxy.app.api_description.document import openapi_document
from proxy.fal_api.operations import Action
from proxy.payload.policy import Policy
from proxy.payload.schema_import.lookup import known_endpoints
from proxy.payload.validation.validator import Validator

ALL = {
    f"/queue/{ENDPOINT}": "post",
    f"/run/{ENDPOINT}": "post",
    f"/run/{ENDPOINT}/stream": "post",
    f"/queue/{APP}/requests/{{request_id}}": "get",
    f"/queue/{APP}/requests/{{request_id}}/status": "get",
    f"/queue/{APP}/requests/{{request_id}}/status/stream": "get",
    f"/queue/{APP}/requests/{{request_id}}/cancel": "put",
    "/usage": "get",
    "/jobs": "get",
    f"/quote/{ENDPOINT}": "post",
}


NOT_OF_ENDPOINTS = (Action.UPLOAD, Action.TOKEN, Action.SESSION, Action.JOBS, Action.QUOTE)
OURS = tuple(action for action in Action if action not in NOT_OF_ENDPOINTS)


async def described(tmp_path: Path, *actions: Action) -> dict[str, dict[str, dict[str, object]]]:
    with open_gateway(tmp_path, endpoints=[{"id": ENDPOINT, "actions": list(actions)}]) as g:
        async with g.client() as alice:
            paths = (await alice.get("/api/fal/openapi.json")).json()["paths"]
    assert isinstance(paths, dict)
    return paths


async def test_every_action_is_described(tmp_path: Path) -> None:
    """Each listed one with its path and method, and a name of its own."""
    paths = await described(tmp_path, *OURS)

    assert {path: next(iter(operations)) for path, operations in paths.items()} == ALL
    assert len({operation["operationId"] for by in paths.values() for operation in by.values()}) == len(ALL)


async def test_what_is_not_listed_is_not_described(tmp_path: Path) -> None:
    """No more than what is offered, and the caller's own usage."""
    assert list(await described(tmp_path, Action.RUN)) == [f"/run/{ENDPOINT}", "/usage", "/jobs", f"/quote/{ENDPOINT}"]


async def test_a_run_takes_what_a_submit_takes(tmp_path: Path) -> None:
    """The effective schema is that of both; a run answers what a result is, a stream events."""
    paths = await described(tmp_path, *OURS)
    submit, run, stream = (paths[path]["post"] for path in list(ALL)[:3])

    assert submit["requestBody"] == run["requestBody"] == stream["requestBody"]
    assert "text/event-stream" in str(stream["responses"])
    assert "application/json" in str(run["responses"]["200"])  # type: ignore[index]
    assert "text/event-stream" in str(paths[list(ALL)[5]]["get"]["responses"])


def whole_document() -> Any:
    """Returns the document of all shipped endpoints and actions, an untyped one, uploads and tokens."""
    actions = [str(action) for action in OURS]
    endpoints = [{"id": endpoint, "actions": actions} for endpoint in known_endpoints(None)]
    untyped = [{"id": "acme/any", "schema": "any"}, {"id": "acme/any/fast", "schema": "any"}]
    components = small_components(endpoints=[*endpoints, *untyped], uploads={}, realtime={"apps": [ENDPOINT]})
    policy = Policy(components.policies)
    return openapi_document(components.listings, policy, public_url="https://a.example.com/api/fal", cookie="session")


DOCUMENT = whole_document()
OPERATIONS = [
    pytest.param(operation, id=f"{method} {path}")
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]


def test_the_document_is_valid() -> None:
    """A public validator of OpenAPI 3.1 finds no fault, schemas, references and defaults included."""
    assert [str(error) for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_is_described_for_people_and_generators(operation: dict[str, Any]) -> None:
    """Each has a summary, a description, a tag, a name for code, and the errors that it can answer with."""
    assert operation["summary"]
    assert operation["description"]
    assert operation["tags"]
    assert operation["operationId"].replace("_", "").isalnum()
    assert {"401", "403", "429", "503"} <= operation["responses"].keys()


def test_examples_fit_their_schemas() -> None:
    """The example of a submit is a body that the gateway admits."""
    bodies = [op.values[0].get("requestBody") for op in OPERATIONS]  # type: ignore[union-attr]
    contents = [body["content"]["application/json"] for body in bodies if body is not None]
    examples = [content for content in contents if "example" in content]

    assert len(examples) > 20
    for content in examples:
        assert Validator(content["schema"]).violations(content["example"]) == []


def test_endpoints_of_one_app_share_their_follow_ups() -> None:
    """The result of a job is described once for the app, with the outputs of its endpoints."""
    paths = DOCUMENT["paths"]

    assert "/queue/acme/any/requests/{request_id}" in paths
    assert not [path for path in paths if "any/fast/requests" in path]


def test_names_for_code_are_unique() -> None:
    """No two operations have one operationId."""
    names = [op.values[0]["operationId"] for op in OPERATIONS]  # type: ignore[index]

    assert len(set(names)) == len(names)

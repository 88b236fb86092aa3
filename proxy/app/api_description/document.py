"""OpenAPI 3.1 document of the listed endpoints, each with the schema that its callers meet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from proxy import __version__
from proxy.app.api_description.caller_paths import caller_paths
from proxy.app.api_description.components import (
    COMMON,
    FOLLOW_UP,
    HANDLE,
    PAID,
    PARAMETERS,
    RESULT,
    SCHEMAS,
    SECURITY_SCHEMES,
    error_components,
    error_responses,
)
from proxy.app.api_description.examples import input_example
from proxy.app.api_description.operations import component, json_response, operation
from proxy.app.api_description.session_paths import session_paths
from proxy.auth.authorization import Listing
from proxy.fal_api.endpoint_ids import app_id
from proxy.fal_api.operations import ACTIONS, REST, Action
from proxy.payload.policy import Policy
from proxy.strict_json import Json

_DESCRIPTION = (
    "A gateway to fal.ai for the users of an app. Each operation needs the session token of a user. "
    "Path mode is described here; `/proxy` takes the same operations with fal's own URL in `x-fal-target-url`."
)
_STARTS = {
    Action.SUBMIT: "/queue/{endpoint}",
    Action.RUN: "/run/{endpoint}",
    Action.RUN_STREAM: "/run/{endpoint}/stream",
}
_FOLLOW_UPS = {
    Action.STATUS: "/status",
    Action.STATUS_STREAM: "/status/stream",
    Action.RESULT: "",
    Action.CANCEL: "/cancel",
}
# Action -> summary (of an endpoint or app) and description.
_TEXTS: Mapping[Action, tuple[str, str]] = {
    Action.SUBMIT: ("Submit a job to {}", "Starts a job. The answer has its handle and the addresses to follow it."),
    Action.RUN: ("Run {}", "Waits for the result. A run cannot be followed or cancelled."),
    Action.RUN_STREAM: ("Stream {}", "Sends the model's events as they come."),
    Action.STATUS: ("State of a job of {}", "202 while the job waits or runs, 200 when it has ended."),
    Action.STATUS_STREAM: ("Events of a job of {}", "One event for each change, until the job has ended."),
    Action.RESULT: ("Result of a job of {}", "The model's own answer, with its own status where it failed."),
    Action.CANCEL: ("Cancel a job of {}", "Asks fal to stop the job. It may still finish."),
}
# OpenAPI 3.1 has no word for the events of a stream: its schema would be that of the whole body.
_EVENTS: Json = {"text/event-stream": {}}


def openapi_document(
    listings: Iterable[Listing],
    policy: Policy,
    *,
    public_url: str,
    cookie: str | None = None,
    jobs: bool = True,
    guests: bool = False,
) -> Json:
    """Returns the document of path mode below *public_url*. *cookie*: the name of the session cookie.

    *jobs*: whether callers may list their jobs. *guests*: whether visitors get guest sessions.
    """
    schemes = dict(SECURITY_SCHEMES)
    if cookie is not None:
        schemes["cookie"] = {"type": "apiKey", "in": "cookie", "name": cookie}
    listed = list(listings)
    return {
        "openapi": "3.1.0",
        "info": {"title": "fal-auth-proxy", "version": __version__, "description": _DESCRIPTION},
        "servers": [{"url": public_url, "description": "This gateway"}],
        "tags": [{"name": app} for app in sorted({_tag(listing) for listing in listed})],
        "security": [{name: []} for name in schemes],
        "components": {
            "securitySchemes": schemes,
            "schemas": dict(SCHEMAS),
            "parameters": dict(PARAMETERS),
            "responses": error_components(),
        },
        "paths": {
            **_start_paths(listed, policy),
            **_job_paths(listed, policy),
            **_rest_paths(listed),
            **caller_paths(listed, policy, jobs=jobs),
            **(session_paths() if guests else {}),
        },
    }


def _start_paths(listings: Iterable[Listing], policy: Policy) -> dict[str, Json]:
    return {
        _STARTS[action].format(endpoint=listing.endpoint): {"post": _start(listing, policy, action)}
        for listing in listings
        for action in sorted(listing.actions & _STARTS.keys())
    }


def _job_paths(listings: Iterable[Listing], policy: Policy) -> dict[str, Json]:
    """Jobs are followed by app, so endpoints of one app share the operations."""
    apps: dict[str, list[Listing]] = {}
    for listing in listings:
        if listing.actions & _FOLLOW_UPS.keys():
            apps.setdefault(app_id(listing.endpoint), []).append(listing)
    paths: dict[str, Json] = {}
    for app, members in apps.items():
        for action in sorted({action for listing in members for action in listing.actions & _FOLLOW_UPS.keys()}):
            path = f"/queue/{app}/requests/{{request_id}}{_FOLLOW_UPS[action]}"
            paths[path] = {_method(action): _follow_up(app, members, policy, action)}
    return paths


def _rest_paths(listings: Iterable[Listing]) -> dict[str, Json]:
    actions = {action for listing in listings for action in listing.actions}
    return {
        path: {"post": _issue(action, path)}
        for action, path in dict.fromkeys(REST.values())
        if action in actions and action in _ISSUED
    }


def _start(listing: Listing, policy: Policy, action: Action) -> Json:
    summary, description = _TEXTS[action]
    schema = policy.effective(listing.endpoint)
    content: dict[str, Json] = {"schema": schema}
    if (example := input_example(schema)) is not None:
        content["example"] = example
    statuses = (*COMMON, *PAID)
    parameters: list[Json] = [{"$ref": "#/components/parameters/idempotency_key"}] if action is Action.SUBMIT else []
    return {
        **operation(f"{action} {listing.endpoint}", _tag(listing), summary.format(listing.endpoint), description),
        "parameters": parameters,
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": {"200": _started(listing, policy, action), **error_responses(statuses)},
    }


def _started(listing: Listing, policy: Policy, action: Action) -> Json:
    if action is Action.SUBMIT:
        return json_response("The job's handle and its addresses", component("Job"))
    if action is Action.RUN_STREAM:
        return {"description": "The model's events", "content": _EVENTS}
    return json_response("The model's answer", policy.output(listing.endpoint) or {})


def _follow_up(app: str, listings: Sequence[Listing], policy: Policy, action: Action) -> Json:
    summary, description = _TEXTS[action]
    parameters: list[Json] = [{"$ref": "#/components/parameters/request_id"}]
    statuses = [*COMMON, *FOLLOW_UP]
    responses: dict[str, Json] = {}
    if action in (Action.STATUS, Action.STATUS_STREAM):
        parameters.append({"$ref": "#/components/parameters/logs"})
    if action is Action.STATUS:
        responses = {
            "200": json_response("The job has ended", component("Status"), _status("COMPLETED")),
            "202": json_response("The job waits or runs", component("Status"), _status("IN_QUEUE")),
        }
    elif action is Action.STATUS_STREAM:
        responses = {"200": {"description": "An event for each change", "content": _EVENTS}}
    elif action is Action.CANCEL:
        answer = json_response("The job is cancelled, or will be", component("Cancellation"))
        responses = {"200": answer, "202": answer}
    else:
        responses = {"200": json_response("The model's answer", _output(listings, policy))}
        statuses += RESULT
    errors = error_responses(statuses)
    if action is Action.CANCEL:
        errors["400"] = json_response("The job has ended already, or the request is malformed", _CANCEL_REFUSED)
    return {
        **operation(f"{action} {app}", app, summary.format(app), description),
        "parameters": parameters,
        "responses": {**responses, **errors},
    }


def _output(listings: Sequence[Listing], policy: Policy) -> Json:
    outputs = [policy.output(listing.endpoint) for listing in listings]
    known: list[Json] = [output for output in outputs if output is not None]
    if len(known) != len(outputs):
        return {}
    return known[0] if len(known) == 1 else {"anyOf": known}


def _issue(action: Action, path: str) -> Json:
    summary, description, request, response = _ISSUED[action]
    statuses = (*COMMON, 402, 415, 422, 502)
    return {
        **operation(f"post {path}", action.value, summary, description),
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": component(request)}},
        },
        "responses": {"200": response, **error_responses(statuses)},
    }


def _status(state: str) -> Json:
    return {"status": state, "request_id": HANDLE, "queue_position": 0 if state == "IN_QUEUE" else None, "logs": None}


def _tag(listing: Listing) -> str:
    return app_id(listing.endpoint) if "/" in listing.endpoint else next(iter(listing.actions)).value


def _method(action: Action) -> str:
    return next(method.lower() for method, known in ACTIONS.values() if known is action)


_CANCEL_REFUSED: Json = {"anyOf": [component("Error"), component("Cancellation")]}
# Action -> summary, description, schema of the request, response.
_ISSUED: Mapping[Action, tuple[str, str, str, Json]] = {
    Action.UPLOAD: (
        "Announce an upload",
        "Returns a presigned URL that the client PUTs the file to.",
        "UploadRequest",
        json_response("The presigned URL, and that of the file", component("Upload")),
    ),
    Action.TOKEN: (
        "Get a realtime token",
        "Returns a token for fal's WebSocket, for listed apps and a bounded time.",
        "TokenRequest",
        json_response("The token, alone or in an object", {"type": ["string", "object"]}),
    ),
}

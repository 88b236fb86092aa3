"""The OpenAPI document of what is listed here: each endpoint with the schema its callers really meet."""

from __future__ import annotations

from collections.abc import Iterable

from proxy import __version__
from proxy.auth.authorization import Listing
from proxy.fal_api.endpoint_ids import app_of
from proxy.fal_api.operations import ACTIONS, REST, Action
from proxy.payload.policy import Policy
from proxy.strict_json import Json

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


def describe(listings: Iterable[Listing], policy: Policy, *, public_url: str, cookie: str | None = None) -> Json:
    """OpenAPI 3.1: the paths of path mode below *public_url*; their schemas stand by themselves, without references.

    *cookie* is the name of the one that may bring a session too.
    """
    schemes: dict[str, Json] = {"session": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
    if cookie is not None:
        schemes["cookie"] = {"type": "apiKey", "in": "cookie", "name": cookie}
    paths: dict[str, Json] = {}
    for listing in listings:
        for action in sorted(listing.actions & _STARTS.keys()):
            paths[_STARTS[action].format(endpoint=listing.endpoint)] = {"post": _start(listing, policy, action)}
        for action in sorted(listing.actions & _FOLLOW_UPS.keys()):
            path = f"/queue/{app_of(listing.endpoint)}/requests/{{request_id}}{_FOLLOW_UPS[action]}"
            paths[path] = {_method(action): _follow_up(listing, policy, action)}
        for action, path in REST.values():
            if action in listing.actions:
                paths[path] = {"post": {"operationId": path, "responses": {"200": _ISSUED[action], **_REFUSALS}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "fal-auth-proxy", "version": __version__},
        "servers": [{"url": public_url}],
        "security": [{name: []} for name in schemes],
        "components": {"securitySchemes": schemes},
        "paths": paths,
    }


def _start(listing: Listing, policy: Policy, action: Action) -> Json:
    return {
        "operationId": f"{action.value} {listing.endpoint}",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": policy.effective(listing.endpoint)}},
        },
        "responses": {"200": _started(listing, policy, action), **_REFUSALS},
    }


def _started(listing: Listing, policy: Policy, action: Action) -> Json:
    if action is Action.SUBMIT:
        return {"description": "The job's handle and its addresses"}
    if action is Action.RUN_STREAM:
        return {"description": "What the model says as it goes", "content": _EVENTS}
    return _output(listing, policy, "The model's answer")


def _output(listing: Listing, policy: Policy, description: str) -> Json:
    schema = policy.output(listing.endpoint)
    if schema is None:
        return {"description": description}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _follow_up(listing: Listing, policy: Policy, action: Action) -> Json:
    answer: Json = {"description": action.value}
    if action is Action.RESULT:
        answer = _output(listing, policy, action.value)
    elif action is Action.STATUS_STREAM:
        answer = {"description": "An event for each change", "content": _EVENTS}
    return {
        "operationId": f"{action.value} {app_of(listing.endpoint)}",
        "parameters": [{"name": "request_id", "in": "path", "required": True, "schema": {"type": "string"}}],
        "responses": {"200": answer, **_REFUSALS},
    }


def _method(action: Action) -> str:
    return next(method.lower() for method, known in ACTIONS.values() if known is action)


_EVENTS: Json = {"text/event-stream": {"schema": {"type": "string"}}}
_REFUSALS: dict[str, Json] = {
    "4XX": {
        "description": "A refusal",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["detail", "message", "error_type"],
                    "properties": {
                        "detail": {"type": ["string", "array"]},
                        "message": {"type": "string"},
                        "error_type": {"type": "string"},
                    },
                }
            }
        },
    }
}

_ISSUED: dict[Action, Json] = {
    Action.UPLOAD: {"description": "The presigned upload_url to PUT the file to, and its file_url"},
    Action.TOKEN: {"description": "A realtime token for fal"},
}

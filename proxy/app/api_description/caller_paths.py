"""OpenAPI paths about the caller: usage, jobs, and the quote for a submit."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.app.api_description.components import COMMON, HANDLE, error_responses
from proxy.app.api_description.operations import component, json_response, operation
from proxy.auth.authorization import Listing
from proxy.fal_api.endpoint_ids import app_id
from proxy.fal_api.operations import Action
from proxy.payload.policy import Policy
from proxy.strict_json import Json

_STATES: list[Json] = ["queued", "running", "completed", "failed", "cancelled", "unknown"]
_READ = (400, 401, 403, 405, 429, 503)
_STARTS = frozenset({Action.SUBMIT, Action.RUN, Action.RUN_STREAM})

_JOB_EXAMPLE: Json = {
    "jobs": [
        {
            "request_id": HANDLE,
            "endpoint": "fal-ai/flux/dev",
            "state": "completed",
            "created_at": "2026-11-26T12:00:00Z",
            "ended_at": "2026-11-26T12:00:04Z",
            "price": 0.025,
        }
    ],
    "next_cursor": None,
}
_QUOTE_EXAMPLE: Json = {
    "endpoint": "fal-ai/flux/dev",
    "price": 0.025,
    "budgets": [{"name": "daily", "left": 4.5, "after": 4.475}],
    "would_be_admitted": True,
    "reason": None,
}


def caller_paths(listings: Iterable[Listing], policy: Policy, *, jobs: bool) -> dict[str, Json]:
    """Returns the paths of the caller's own pages. *jobs*: whether callers may list their jobs."""
    paths: dict[str, Json] = {"/usage": {"get": _usage()}}
    if jobs:
        paths["/jobs"] = {"get": _jobs()}
    for listing in listings:
        if listing.actions & _STARTS:
            paths[f"/quote/{listing.endpoint}"] = {"post": _quote(listing.endpoint, policy)}
    return paths


def _usage() -> Json:
    return {
        **operation("usage", "caller", "What the caller has left", "Budgets, windows and jobs of the caller."),
        "responses": {"200": json_response("The caller's limits", component("Usage")), **error_responses(_READ)},
    }


def _jobs() -> Json:
    def query(name: str, description: str, schema: Json) -> Json:
        return {"name": name, "in": "query", "description": description, "schema": schema}

    return {
        **operation("jobs", "caller", "The caller's jobs", "The newest first, in pages."),
        "parameters": [
            query("state", "Jobs in this state alone.", {"type": "string", "enum": _STATES}),
            query("limit", "Jobs of a page.", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}),
            query("cursor", "The `next_cursor` of the page before.", {"type": "string"}),
        ],
        "responses": {
            "200": json_response("A page of jobs", component("Jobs"), _JOB_EXAMPLE),
            **error_responses((*_READ, 413)),
        },
    }


def _quote(endpoint: str, policy: Policy) -> Json:
    texts = operation(
        f"quote {endpoint}",
        app_id(endpoint),
        f"Price of a job of {endpoint}",
        "Returns what a submit of this body would reserve. Nothing is reserved.",
    )
    return {
        **texts,
        "requestBody": {"required": True, "content": {"application/json": {"schema": policy.effective(endpoint)}}},
        "responses": {
            "200": json_response("The price, and the caller's budgets", component("Quote"), _QUOTE_EXAMPLE),
            **error_responses((*COMMON, 415, 422)),
        },
    }

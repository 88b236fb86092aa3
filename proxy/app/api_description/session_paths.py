"""OpenAPI path of guest sessions."""

from __future__ import annotations

from proxy.app.api_description.components import error_responses
from proxy.app.api_description.operations import json_response, operation
from proxy.strict_json import Json

_SESSION: Json = {
    "type": "object",
    "required": ["token", "expires_in"],
    "properties": {
        "token": {"type": "string", "description": "The session token of a new guest."},
        "expires_in": {"type": "integer", "description": "Seconds until it expires."},
    },
}
_PROOF: Json = {
    "type": "object",
    "properties": {"proof": {"type": "string", "description": "Proof of the app's backend, where one is configured."}},
}


def session_paths() -> dict[str, Json]:
    """Returns the path that gives guest sessions and ends sessions."""
    create = operation(
        "create_session", "session", "A guest session", "For a page of the gateway's own origin. It sets a cookie, too."
    )
    end = operation("end_session", "session", "End of the session", "Revokes the token of this request.")
    return {
        "/session": {
            "post": {
                **create,
                "security": [],
                "requestBody": {"required": False, "content": {"application/json": {"schema": _PROOF}}},
                "responses": {
                    "200": json_response("A session of a new guest", _SESSION),
                    **error_responses((400, 403, 413, 415, 422, 429, 503)),
                },
            },
            "delete": {
                **end,
                "responses": {"204": {"description": "The session has ended"}, **error_responses((401, 403, 503))},
            },
        }
    }

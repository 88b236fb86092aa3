"""Components of the OpenAPI document: schemas, parameters, security, and a response for each error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from proxy.strict_json import Json

HANDLE = "764cabcf-b745-4b3e-ae38-1200304cf45b.q5eYFWcVQmWy3GdVb0v0Pw"
_TEXT: Json = {"type": "string"}
_NULLABLE_TEXT: Json = {"type": ["string", "null"]}

SCHEMAS: dict[str, Json] = {
    "Error": {
        "type": "object",
        "description": "An error of the gateway. `error_type` is stable; `message` is for developers.",
        "required": ["detail", "message", "error_type"],
        "properties": {"detail": {"type": ["string", "array"]}, "message": _TEXT, "error_type": _TEXT},
    },
    "ValidationError": {
        "type": "object",
        "description": "Every fault of a body, in fal's form.",
        "required": ["detail"],
        "properties": {
            "detail": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["loc", "msg", "type"],
                    "properties": {
                        "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
                        "msg": _TEXT,
                        "type": _TEXT,
                    },
                },
            },
            "message": _TEXT,
            "error_type": _TEXT,
        },
    },
    "Job": {
        "type": "object",
        "description": "A job that fal accepted, with the addresses to follow it.",
        "required": ["status", "request_id", "response_url", "status_url", "cancel_url"],
        "properties": {
            "status": {"type": "string", "enum": ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]},
            "request_id": {"type": "string", "description": "The job's handle. It works for its caller alone."},
            "response_url": _TEXT,
            "status_url": _TEXT,
            "cancel_url": _TEXT,
            "queue_position": {"type": ["integer", "null"]},
        },
    },
    "Status": {
        "type": "object",
        "description": "The state of a job. A failed or cancelled job is COMPLETED too.",
        "required": ["status"],
        "properties": {
            "status": {"type": "string", "enum": ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]},
            "request_id": _TEXT,
            "response_url": _NULLABLE_TEXT,
            "status_url": _NULLABLE_TEXT,
            "cancel_url": _NULLABLE_TEXT,
            "queue_position": {"type": ["integer", "null"]},
            "logs": {"type": ["array", "null"], "items": {"type": "object"}},
            "metrics": {"type": ["object", "null"]},
            "error": _NULLABLE_TEXT,
            "error_type": _NULLABLE_TEXT,
        },
    },
    "Cancellation": {
        "type": "object",
        "description": "`CANCELLATION_REQUESTED`: the job may still finish. `ALREADY_COMPLETED` comes with 400.",
        "properties": {"status": _TEXT},
    },
    "Jobs": {
        "type": "object",
        "description": "A page of the caller's jobs. `request_id` is null for a run without a job.",
        "required": ["jobs", "next_cursor"],
        "properties": {
            "jobs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["request_id", "endpoint", "state", "created_at", "ended_at", "price"],
                    "properties": {
                        "request_id": _NULLABLE_TEXT,
                        "endpoint": _TEXT,
                        "state": _TEXT,
                        "created_at": _TEXT,
                        "ended_at": _NULLABLE_TEXT,
                        "price": {"type": ["number", "null"]},
                    },
                },
            },
            "next_cursor": _NULLABLE_TEXT,
        },
    },
    "Quote": {
        "type": "object",
        "description": "The price of a submit, in the operator's units, and what would be left of each budget.",
        "required": ["endpoint", "price", "budgets", "would_be_admitted", "reason"],
        "properties": {
            "endpoint": _TEXT,
            "price": {"type": "number"},
            "budgets": {"type": "array", "items": {"type": "object"}},
            "would_be_admitted": {"type": "boolean"},
            "reason": _NULLABLE_TEXT,
        },
    },
    "Usage": {"type": "object", "description": "Limits of the caller, with what is left of each."},
    "UploadRequest": {
        "type": "object",
        "required": ["content_type", "file_name"],
        "properties": {"content_type": _TEXT, "file_name": {"type": "string", "minLength": 1, "maxLength": 255}},
    },
    "Upload": {
        "type": "object",
        "required": ["upload_url", "file_url"],
        "properties": {
            "upload_url": {"type": "string", "description": "Presigned URL that the file is PUT to."},
            "file_url": {"type": "string", "description": "URL of the file, for a field of an input."},
        },
    },
    "TokenRequest": {
        "type": "object",
        "required": ["allowed_apps"],
        "properties": {
            "allowed_apps": {"type": "array", "items": _TEXT, "minItems": 1, "uniqueItems": True},
            "token_expiration": {"type": "integer", "minimum": 1},
            "duration": {"type": "integer", "minimum": 1},
        },
    },
}

PARAMETERS: dict[str, Json] = {
    "request_id": {
        "name": "request_id",
        "in": "path",
        "required": True,
        "description": "The handle of a job of the caller, as a submit returned it.",
        "schema": {"type": "string"},
        "example": HANDLE,
    },
    "logs": {
        "name": "logs",
        "in": "query",
        "description": "1 adds the model's log lines.",
        "schema": {"type": "string", "enum": ["0", "1", "true", "false"]},
    },
    "idempotency_key": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "A repeat with the same key and body gets the stored answer, and starts no second job.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._~-]{1,255}$"},
    },
}

SECURITY_SCHEMES: dict[str, Json] = {
    "session": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The session token of a user, of one of the configured issuers. Never a fal key.",
    },
    "key": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "`Key <session token>`, as fal's clients send it.",
    },
}

# Status -> what it means, and an example of its `error_type` and message.
_ERRORS: Mapping[int, tuple[str, str, str]] = {
    400: ("The request is malformed, or fal refused it.", "bad_header", "The header x-fal-tags is not valid"),
    401: (
        "There is no session, or a bad one.",
        "unauthenticated",
        "Sign in again: this call has no valid session token",
    ),
    402: ("A budget is spent. The body has the budget and when it renews.", "budget_exceeded", "Budget spent"),
    403: ("The endpoint, operation, scope or claim is not granted.", "insufficient_scope", "Not allowed"),
    404: ("The job is not the caller's, or does not exist.", "job_not_found", "Job not found"),
    405: ("The method is not the operation's. `Allow` has it.", "method_not_allowed", "Method not allowed"),
    408: ("The body arrived too slowly. Nothing was done.", "request_timeout", "The request came too slowly"),
    413: ("The body is too large.", "content_too_large", "Request body too large"),
    415: ("The body is not uncompressed JSON.", "unsupported_media_type", "The body must be application/json"),
    422: ("The body does not fit the schema or the rules of the endpoint.", "validation_error", ""),
    429: ("A short window or the number of unfinished jobs is used up.", "rate_limited", "Too many requests"),
    500: ("The model failed, or the gateway has a defect.", "run_failed", "The run failed"),
    502: ("A read failed at fal. It is safe to repeat.", "upstream_failed", "The upstream did not answer as it should"),
    503: ("Certainly not done. It is safe to repeat.", "overloaded", "Not available right now; nothing was done"),
    504: ("A submit or run was sent, and its outcome is unknown. Do not repeat it.", "outcome_unknown", "Unknown"),
}
_RETRY_AFTER: dict[str, Json] = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
}

COMMON = (400, 401, 403, 405, 408, 413, 429, 503)
PAID = (402, 415, 422, 500, 502, 504)
FOLLOW_UP = (404, 502)
RESULT = (422, 500)


def error_responses(statuses: Iterable[int]) -> dict[str, Json]:
    """Returns references to the responses of *statuses*, in their order."""
    return {str(status): {"$ref": f"#/components/responses/Error{status}"} for status in sorted(set(statuses))}


def error_components() -> dict[str, Json]:
    """Returns the response of each error status, with an example."""
    return {f"Error{status}": _error(status, *row) for status, row in _ERRORS.items()}


def _error(status: int, description: str, error_type: str, message: str) -> Json:
    example: Json = {"detail": message, "message": message, "error_type": error_type}
    schema = "Error"
    if status == 422:
        schema = "ValidationError"
        detail: Json = [{"loc": ["body", "prompt"], "msg": "Field required", "type": "missing"}]
        example = {"detail": detail, "message": "body.prompt: Field required", "error_type": error_type}
    return {
        "description": description,
        "content": {
            "application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}, "example": example},
        },
        **({"headers": _RETRY_AFTER} if status in (429, 503) else {}),
    }

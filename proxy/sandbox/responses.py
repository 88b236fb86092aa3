"""Answers and errors in fal's wording."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from proxy.sandbox.jobs import Outcome
from proxy.sandbox.json_types import Json

# fal docs, request errors.
ERROR_TYPES: Mapping[int, str] = {
    400: "bad_request",
    403: "forbidden",
    404: "not_found",
    413: "payload_too_large",
    429: "concurrent_requests_limit",
    499: "client_cancelled",
    500: "runner_server_error",
    502: "runner_incomplete_response",
    503: "runner_connection_error",
    504: "request_timeout",
}

# Only a path segment of this form is copied into a header.
_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)


class FalError(Exception):
    """An error answer. *body* is sent as JSON."""

    def __init__(self, status: int, body: object, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body
        self.headers = dict(headers or {})


class FalResponse(Response):
    """A JSON answer with `x-fal-request-id`."""

    media_type = "application/json"

    def __init__(
        self, body: object, status: int = 200, *, request_id: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(dump_json(body), status, {"x-fal-request-id": request_id, **(headers or {})})


def job_response(outcome: Outcome, request_id: str) -> Response:
    """Returns the model's own status, headers and body, for a success with its billable units."""
    headers = {"x-fal-request-id": request_id, **outcome.headers}
    if outcome.units is not None:
        headers["x-fal-billable-units"] = f"{outcome.units:.4f}".rstrip("0").rstrip(".")
    return Response(outcome.body, outcome.status, headers, media_type="application/json")


def dump_json(body: object) -> bytes:
    """Returns *body* as compact ASCII JSON."""
    return json.dumps(body, separators=(",", ":")).encode("ascii")


def new_id() -> str:
    """Returns a random UUID, the form of fal's request ids."""
    return str(uuid.uuid4())


def infrastructure_error(
    status: int,
    detail: str | None = None,
    *,
    error_type: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> FalError:
    """Returns an error of fal's own (fal docs, request errors).

    Its body is `{"detail", "error_type"}`, and `x-fal-error-type` repeats the type.
    """
    kind = error_type or ERROR_TYPES.get(status, "internal_error")
    fields = {"x-fal-error-type": kind, **(headers or {})}
    if status in (429, 503):
        fields["x-fal-needs-retry"] = "1"
    return FalError(status, {"detail": detail or reason_phrase(status), "error_type": kind}, headers=fields)


def field_error(field: str | Sequence[str | int], kind: str, message: str) -> FalError:
    """Returns a model's 422 with one entry in its `detail` list (fal docs, model errors).

    *field*: the name of a field of the input, or the path to a nested one.
    """
    location = [field] if isinstance(field, str) else field
    return FalError(422, {"detail": [{"loc": ["body", *location], "msg": message, "type": kind}]})


def job_not_found() -> FalError:
    """Returns the one 404 for unknown, expired and foreign jobs."""
    return FalError(404, {"status": "NOT_FOUND"})


def app_not_found(app: str) -> FalError:
    """Returns the 404 for an unknown application."""
    return FalError(404, {"detail": f'Application "{app}" not found'})


def account_locked() -> FalError:
    """Returns the 403 of an account without balance. Public logs show this body without an `error_type`."""
    return FalError(
        403,
        {"detail": "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing."},
    )


def reason_phrase(status: int) -> str:
    """Returns the phrase of a status code."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        # 499 is nginx's and not registered.
        return "Client closed request"


async def error_response(request: Request, error: FalError) -> Response:
    """Returns the answer for an error that a route raised."""
    path_id = request.path_params.get("request_id", "")
    request_id = path_id if _REQUEST_ID.fullmatch(path_id) else new_id()
    return FalResponse(error.body, error.status, request_id=request_id, headers=error.headers)


async def read_payload(request: Request) -> Json:
    """Returns the model input. Raises FalError 422.

    An empty body is `{}`: `run` without an input sends it.
    """
    body = await request.body()
    try:
        payload: Json = json.loads(body or b"{}")
    except (ValueError, RecursionError) as exc:
        raise FalError(
            422, {"detail": [{"loc": ["body", 0], "msg": "JSON decode error", "type": "json_invalid"}]}
        ) from exc
    return payload

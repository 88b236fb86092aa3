"""fal's answers, as fal words them."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from proxy.sandbox.jobs import Outcome

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

# Only this much of a caller's path is echoed into a header.
_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)


class FalError(Exception):
    """An answer other than the one asked for; *body* is sent as JSON."""

    def __init__(self, status: int, body: object, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body
        self.headers = dict(headers or {})


class Reply(Response):
    media_type = "application/json"

    def __init__(
        self, body: object, status: int = 200, *, request_id: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(dump(body), status, {"x-fal-request-id": request_id, **(headers or {})})


def finished(outcome: Outcome, request_id: str) -> Response:
    """The model's own status, headers and body; a success says what it costs."""
    headers = {"x-fal-request-id": request_id, **outcome.headers}
    if outcome.units is not None:
        headers["x-fal-billable-units"] = f"{outcome.units:.4f}".rstrip("0").rstrip(".")
    return Response(outcome.body, outcome.status, headers, media_type="application/json")


def dump(body: object) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode("ascii")


def new_id() -> str:
    return str(uuid.uuid4())


def infrastructure(
    status: int,
    detail: str | None = None,
    *,
    error_type: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> FalError:
    """fal docs, request errors: `{"detail", "error_type"}` and the type again as a header."""
    kind = error_type or ERROR_TYPES.get(status, "internal_error")
    sent = {"x-fal-error-type": kind, **(headers or {})}
    if status in (429, 503):
        sent["x-fal-needs-retry"] = "1"
    return FalError(status, {"detail": detail or phrase(status), "error_type": kind}, headers=sent)


def field_error(field: str, kind: str, message: str) -> FalError:
    """fal docs, model errors: one entry of the 422 `detail` list."""
    return FalError(422, {"detail": [{"loc": ["body", field], "msg": message, "type": kind}]})


def job_not_found() -> FalError:
    return FalError(404, {"status": "NOT_FOUND"})


def app_not_found(app: str) -> FalError:
    return FalError(404, {"detail": f'Application "{app}" not found'})


def phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        # 499 is nginx's; the registry does not know it.
        return "Client closed request"


async def refuse(request: Request, error: FalError) -> Response:
    named = request.path_params.get("request_id", "")
    request_id = named if _REQUEST_ID.fullmatch(named) else new_id()
    return Reply(error.body, error.status, request_id=request_id, headers=error.headers)


async def payload_of(request: Request) -> object:
    """The model input; no body is `{}`, as `run` without an input sends. Raises FalError 422."""
    body = await request.body()
    try:
        return json.loads(body or b"{}")
    except (ValueError, RecursionError) as exc:
        raise FalError(
            422, {"detail": [{"loc": ["body", 0], "msg": "JSON decode error", "type": "json_invalid"}]}
        ) from exc

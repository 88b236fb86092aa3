"""Responses about a job: fal's JSON with job handles and with URLs of this gateway.

*public_url* is the absolute URL of the gateway's prefix, as configured: never taken from a caller's text.
"""

from __future__ import annotations

import orjson

from proxy.errors import UpstreamFailed
from proxy.http.fields import Fields
from proxy.http.response import Response
from proxy.upstream.outcomes import Accepted


def submit_response(accepted: Accepted, public_url: str, *, app: str, handle: str, headers: Fields) -> Response:
    """Returns the answer to an accepted submit: only the state and the place in the queue are fal's."""
    body = {
        "status": accepted.state,
        **_job_urls(public_url, app, handle),
        "queue_position": accepted.position,
    }
    return Response(
        200, orjson.dumps(body), (*accepted.headers, *headers, (b"x-fal-request-id", handle.encode("ascii")))
    )


def status_response(
    status: int, content: bytes, public_url: str, *, app: str, handle: str, headers: Fields
) -> Response:
    """Returns fal's answer to a status read or a cancel with the id and the URLs replaced.

    Raises UpstreamFailed where *content* is not a JSON object.
    """
    body = _object(content)
    body.pop("gateway_request_id", None)
    ours = _job_urls(public_url, app, handle)
    body.update(ours if ours.keys() <= body.keys() else {name: ours[name] for name in ours.keys() & body.keys()})
    return Response(status, orjson.dumps(body), (*headers, _job_id(handle)))


def result_response(status: int, content: bytes, *, handle: str, headers: Fields) -> Response:
    """Returns the model's own bytes as they came."""
    return Response(status, content, (*headers, _job_id(handle)))


def _job_urls(public_url: str, app: str, handle: str) -> dict[str, str]:
    job = f"{public_url}/queue/{app}/requests/{handle}"
    return {
        "request_id": handle,
        "response_url": job,
        "status_url": f"{job}/status",
        "cancel_url": f"{job}/cancel",
    }


def _job_id(handle: str) -> tuple[bytes, bytes]:
    return b"x-fal-request-id", handle.encode("ascii")


def _object(content: bytes) -> dict[str, object]:
    try:
        parsed: object = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise UpstreamFailed(reason="fal's answer is not JSON") from error
    if not isinstance(parsed, dict):
        raise UpstreamFailed(reason="fal's answer is not a JSON object")
    return parsed

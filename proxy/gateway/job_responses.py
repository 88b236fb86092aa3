"""Responses about a job: fal's JSON with job handles and URLs of this gateway."""

from __future__ import annotations

import orjson

from proxy.errors import UpstreamFailed
from proxy.http.fields import Fields
from proxy.http.response import Answer


def job_named(said: bytes) -> str:
    """fal's id of the job it took, as its answer to a submit names it. Raises UpstreamFailed where there is none."""
    upstream_id = _object(said).get("request_id")
    if not isinstance(upstream_id, str):
        raise UpstreamFailed(reason="fal's answer names no job")
    return upstream_id


class JobAnswers:
    """Rewrites what fal says about a job, so that ids are handles and every URL leads back here.

    *public_url* is where callers reach the gateway, prefix included, as configured: never taken from a request.
    """

    def __init__(self, public_url: str) -> None:
        self._queue = f"{public_url}/queue"

    def submitted(self, said: bytes, *, app: str, handle: str, headers: Fields) -> Answer:
        """The answer to an accepted submit, built from scratch: only the state and the place in the queue are fal's."""
        told = _object(said)
        body = {
            "status": told.get("status") if isinstance(told.get("status"), str) else "IN_QUEUE",
            **self._addresses(app, handle),
            "queue_position": told.get("queue_position") if isinstance(told.get("queue_position"), int) else None,
        }
        return Answer(200, orjson.dumps(body), (*headers, _job(handle)))

    def followed(self, status: int, said: bytes, *, app: str, handle: str, headers: Fields) -> Answer:
        """Status and cancel answers: as fal gave them, but for the id and the URLs.

        Raises UpstreamFailed where *said* is not a JSON object.
        """
        told = _object(said)
        told.pop("gateway_request_id", None)
        ours = self._addresses(app, handle)
        told.update(ours if ours.keys() <= told.keys() else {name: ours[name] for name in ours.keys() & told.keys()})
        return Answer(status, orjson.dumps(told), (*headers, _job(handle)))

    def result(self, status: int, said: bytes, *, handle: str, headers: Fields) -> Answer:
        """The model's own bytes, untouched; they only have to be JSON. Raises UpstreamFailed where they are not."""
        _parse(said)
        return Answer(status, said, (*headers, _job(handle)))

    def ran(self, status: int, said: bytes, *, headers: Fields) -> Answer:
        """As a result, but under our own request id: fal has no job that the id it gives a run would lead to."""
        _parse(said)
        return Answer(status, said, tuple(headers))

    def _addresses(self, app: str, handle: str) -> dict[str, str]:
        job = f"{self._queue}/{app}/requests/{handle}"
        return {
            "request_id": handle,
            "response_url": job,
            "status_url": f"{job}/status",
            "cancel_url": f"{job}/cancel",
        }


def _job(handle: str) -> tuple[bytes, bytes]:
    return b"x-fal-request-id", handle.encode("ascii")


def _object(said: bytes) -> dict[str, object]:
    parsed = _parse(said)
    if not isinstance(parsed, dict):
        raise UpstreamFailed(reason="fal's answer is not a JSON object")
    return parsed


def _parse(said: bytes) -> object:
    try:
        parsed: object = orjson.loads(said)
    except orjson.JSONDecodeError as error:
        raise UpstreamFailed(reason="fal's answer is not JSON") from error
    return parsed

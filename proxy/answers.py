"""What goes back to the caller: one frozen Answer, made here from a refusal or from what fal said about a job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import orjson

from proxy.errors import FieldError, Refusal, UpstreamFailed

Fields = Sequence[tuple[bytes, bytes]]

# On every answer. Nothing we send is a page (the playground sets its own policy), and nothing may be kept by a cache.
PROTECTIVE: tuple[tuple[bytes, bytes], ...] = (
    (b"cache-control", b"no-store, private"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"vary", b"Origin, Sec-Fetch-Site, Cookie"),
)

_JSON = (b"content-type", b"application/json")


_PROTECTIVE_LINES = b"".join([b"%b: %b\r\n" % field for field in (_JSON, *PROTECTIVE)])


class Answer(NamedTuple):
    """A whole response; *headers* lack only what `wire_headers` adds to every one."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def head(self, request_id: bytes, extra: Fields = ()) -> bytes:
        """The same as `wire_headers`, as lines ready to be sent."""
        own = b"".join([b"%b: %b\r\n" % field for field in (*self.headers, *extra)])
        if b"x-fal-request-id: " not in own:
            own = b"%bx-fal-request-id: %b\r\n" % (own, request_id)
        return b"%bcontent-length: %d\r\n%b" % (_PROTECTIVE_LINES, len(self.body), own)

    def wire_headers(self, request_id: bytes, extra: Fields = ()) -> list[tuple[bytes, bytes]]:
        """Complete response fields. An answer about a job names its handle instead of *request_id*."""
        fields = [_JSON, (b"content-length", b"%d" % len(self.body)), *PROTECTIVE, *self.headers, *extra]
        if not any(name == b"x-fal-request-id" for name, _ in self.headers):
            fields.append((b"x-fal-request-id", request_id))
        return fields


def refused(refusal: Refusal) -> Answer:
    """The answer to a refusal: `{"detail", "message", "error_type"}`.

    fal's clients read `detail` (a list makes a ValidationError); the JavaScript client shows only `message`.
    """
    detail = refusal.detail
    message = detail if isinstance(detail, str) else "; ".join(map(_sentence, detail))
    body = {**refusal.facts, "detail": detail, "message": message, "error_type": refusal.error_type}
    return Answer(refusal.status, orjson.dumps(body), refusal.headers)


def _sentence(error: FieldError) -> str:
    return f"{'.'.join(str(step) for step in error['loc'])}: {error['msg']}"


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

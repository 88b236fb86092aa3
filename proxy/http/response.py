"""Whole responses to callers, and the response to each refusal."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Final

import orjson

from proxy.errors import FieldError, Refusal
from proxy.http.fields import Fields

# Fields of every response. None is a page (the playground sets its own policy), and no cache may keep one.
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


@dataclass(slots=True)
class Response:
    """A whole response; *headers* lack the fields that every response has."""

    status: Final[int]
    body: Final[bytes]
    headers: Final[tuple[tuple[bytes, bytes], ...]] = ()

    def lines(self, extra: Fields = ()) -> bytes:
        """Returns the field lines of the head, without request id and final CRLF."""
        fields = self.headers if not extra else (*self.headers, *extra)
        own = b"%b: %b\r\n" * len(fields) % tuple(chain.from_iterable(fields))
        return b"%bcontent-length: %d\r\n%b" % (_PROTECTIVE_LINES, len(self.body), own)

    def head(self, request_id: bytes, extra: Fields = ()) -> bytes:
        """Returns the fields of `wire_headers` as lines."""
        lines = self.lines(extra)
        return lines if b"\r\nx-fal-request-id: " in lines else b"%bx-fal-request-id: %b\r\n" % (lines, request_id)

    def wire_headers(self, request_id: bytes, extra: Fields = ()) -> list[tuple[bytes, bytes]]:
        """Returns all fields. A response about a job has the job's handle in the place of *request_id*."""
        fields = [_JSON, (b"content-length", b"%d" % len(self.body)), *PROTECTIVE, *self.headers, *extra]
        if not any(name == b"x-fal-request-id" for name, _ in self.headers):
            fields.append((b"x-fal-request-id", request_id))
        return fields


def error_response(refusal: Refusal) -> Response:
    """Builds the response to a refusal: `{"detail", "message", "error_type"}`.

    fal's clients read `detail` (a list makes a ValidationError); the JavaScript client shows only `message`.
    """
    detail = refusal.detail
    message = detail if isinstance(detail, str) else "; ".join(map(_sentence, detail))
    body = {**refusal.facts, "detail": detail, "message": message, "error_type": refusal.error_type}
    return Response(refusal.status, orjson.dumps(body), refusal.headers)


def _sentence(error: FieldError) -> str:
    return f"{'.'.join(str(step) for step in error['loc'])}: {error['msg']}"

"""What goes back to the caller: one frozen Answer, made here from a refusal or from what fal said about a job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import orjson

from proxy.errors import FieldError, Refusal

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

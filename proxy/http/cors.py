"""Cross-origin access for an exact list of origins.

None is the default (Fetch standard, section 3.2 CORS protocol).

Not Starlette's CORSMiddleware: a preflight must pass the request checks and have a log record and an id like any
request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from proxy.errors import Forbidden
from proxy.http.fields import Fields, first
from proxy.http.response import Response

# Request fields of fal's clients and of tracing libraries (W3C Trace Context, W3C Baggage, Sentry).
_REQUEST_HEADERS = (
    *("accept", "authorization", "content-type", "idempotency-key", "x-fal-target-url"),
    *("x-fal-queue-priority", "x-fal-request-timeout", "x-fal-request-start-timeout", "x-fal-runner-hint"),
    *("x-fal-no-retry", "x-fal-object-lifecycle", "x-fal-object-lifecycle-preference", "x-fal-user-agent"),
    *("x-fal-client-proxy", "x-app-fal-disable-fallback", "traceparent", "tracestate", "baggage", "sentry-trace"),
)
_RESPONSE_HEADERS = (
    *("x-fal-request-id", "x-fal-request-timeout-type", "x-fal-error-type", "retry-after"),
    *(
        "ratelimit",
        "ratelimit-policy",
        "idempotent-replayed",
        "x-price",
        "x-fal-billable-units",
        "would-deny",
        "www-authenticate",
    ),
)
# Fields of later versions of fal's clients are allowed too; those that the gateway does not know it drops.
_FAL_FIELD = re.compile(rb"x-fal-[a-z0-9-]{1,58}")
_MAX_REQUESTED = 2048  # bytes of a list of requested fields that is read
_MAX_AGE = b"600"  # seconds; browsers allow little more, and a removed origin should not stay allowed


class Cors:
    """Has no credentials mode: a cross-origin page sends a token, never the cookie.

    *headers* are added to the request fields that a page may send, *expose* to the response fields that it may read.
    `fields` belong to every response, also to that of a preflight.
    """

    def __init__(self, origins: Iterable[str], *, headers: Iterable[str] = (), expose: Iterable[str] = ()) -> None:
        self._origins = frozenset(origin.encode("ascii") for origin in origins)
        self._allowed = ", ".join(dict.fromkeys([*_REQUEST_HEADERS, *headers])).encode("ascii")
        self._exposed = ", ".join(dict.fromkeys([*_RESPONSE_HEADERS, *expose])).encode("ascii")

    def preflight(self, method: str, fields: Fields) -> Response | None:
        """Returns the response to a preflight, None for another request.

        Raises Forbidden for an origin not listed.
        """
        if method != "OPTIONS" or first(fields, b"access-control-request-method") is None:
            return None
        if not self.fields(fields):
            raise Forbidden("This origin is not allowed here", error_type="origin_not_allowed")
        allowed = (
            (b"access-control-allow-methods", b"GET, POST, PUT, DELETE"),
            (b"access-control-allow-headers", self._allowed_headers(fields)),
            (b"access-control-max-age", _MAX_AGE),
        )
        return Response(200, b"", allowed)

    def fields(self, fields: Fields) -> Fields:
        """Returns the response fields by which a page may read the response: none for an origin not listed."""
        if not self._origins:
            return ()
        origin = first(fields, b"origin")
        if origin is None or origin not in self._origins:
            return ()
        return (b"access-control-allow-origin", origin), (b"access-control-expose-headers", self._exposed)

    def _allowed_headers(self, fields: Fields) -> bytes:
        """Returns the list of allowed request fields, with each `x-fal-*` that this preflight asks for."""
        requested = first(fields, b"access-control-request-headers") or b""
        names = [name.strip(b" \t").lower() for name in requested[:_MAX_REQUESTED].split(b",")]
        return b", ".join(dict.fromkeys([self._allowed, *filter(_FAL_FIELD.fullmatch, names)]))

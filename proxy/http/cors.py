"""Cross-origin access for an exact list of origins; none is the default (Fetch standard, section 3.2 CORS protocol).

Not Starlette's CORSMiddleware: a preflight must pass the guards and leave a log line and an id like any request.
"""

from __future__ import annotations

from collections.abc import Iterable

from proxy.errors import Forbidden
from proxy.http.fields import Fields, first
from proxy.http.response import Answer

# What fal's clients send from a browser, whether or not it goes on to fal, and all that answers tell in fields.
_ALLOW_HEADERS = (
    b"accept, authorization, content-type, idempotency-key, x-fal-target-url, "
    b"x-fal-queue-priority, x-fal-request-timeout, x-fal-request-start-timeout, x-fal-runner-hint, x-fal-no-retry, "
    b"x-fal-object-lifecycle, x-fal-object-lifecycle-preference, x-fal-user-agent, x-fal-client-proxy"
)
_EXPOSE_HEADERS = (
    b"x-fal-request-id, x-fal-request-timeout-type, x-fal-error-type, retry-after, "
    b"ratelimit, ratelimit-policy, idempotent-replayed, would-deny, www-authenticate"
)
_MAX_AGE = b"600"  # seconds; browsers cap it near this anyway, and a removed origin should not linger


class Cors:
    """No credentials mode: a cross-origin page brings a token, never our cookie.

    `fields` goes onto every answer, that to a preflight included.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origin.encode("ascii") for origin in origins)

    def preflight(self, method: str, fields: Fields) -> Answer | None:
        """The answer to a preflight, or None where the request is none. Raises Forbidden for an origin not listed."""
        if method != "OPTIONS" or first(fields, b"access-control-request-method") is None:
            return None
        if not self.fields(fields):
            raise Forbidden("This origin is not allowed here", error_type="origin_not_allowed")
        allowed = (
            (b"access-control-allow-methods", b"GET, POST, PUT"),
            (b"access-control-allow-headers", _ALLOW_HEADERS),
            (b"access-control-max-age", _MAX_AGE),
        )
        return Answer(200, b"", allowed)

    def fields(self, fields: Fields) -> Fields:
        """What an answer to *fields* carries so that the page may read it: nothing for an origin not listed."""
        if not self._origins:
            return ()
        origin = first(fields, b"origin")
        if origin is None or origin not in self._origins:
            return ()
        return (b"access-control-allow-origin", origin), (b"access-control-expose-headers", _EXPOSE_HEADERS)

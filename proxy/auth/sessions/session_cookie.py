"""Session cookie, and the checks of credentials that a browser attaches by itself.

Browsers attach cookies to cross-site requests, so a cookie authenticates the user but not the page (CSRF). The login
service sets the cookie, and should make it `Secure; HttpOnly; SameSite=Lax; Path=/`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from proxy.errors import Forbidden, HeadTooLarge, Unauthenticated, UnsupportedMediaType
from proxy.http.fields import Fields, by_name, first
from proxy.http.request_body import json_content_type

MAX_COOKIES = 16 * 1024  # bytes of all Cookie fields; browsers store 4 KiB a cookie

_READS = frozenset({"GET", "HEAD"})
_SAME_ORIGIN = b"same-origin"
# A JWT in its one spelling: a quoted, escaped or folded value is not one that a login service sets.
_TOKEN = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class SessionCookie:
    """Cookie that carries a session token. *name* is compared byte for byte.

    *origins* are those of the service itself, as browsers write them.
    """

    name: bytes
    origins: frozenset[bytes]

    def token(self, method: str, fields: Fields) -> bytes | None:
        """Returns the token in the cookie, or None where the cookie is not sent.

        Raises Forbidden and UnsupportedMediaType (as `check_ambient`), Unauthenticated where the name comes twice or
        its value is no token, and HeadTooLarge.
        """
        values = self._values(fields)
        if not values:
            return None
        check_ambient(method, fields, self.origins)
        if len(values) > 1:
            raise Unauthenticated(reason="several session cookies")
        if _TOKEN.fullmatch(values[0]) is None:
            raise Unauthenticated(reason="the session cookie holds no token")
        return values[0]

    def _values(self, fields: Fields) -> list[bytes]:
        """Returns every value of the cookie, split as RFC 6265 section 5.4 joins: no quotes, no older syntax."""
        lines = [value for name, value in fields if name == b"cookie"]
        if sum(map(len, lines)) > MAX_COOKIES:
            raise HeadTooLarge()
        pairs = [pair.strip(b" \t").partition(b"=") for line in lines for pair in line.split(b";")]
        # Browsers send no blanks round the name, but a parser in front may have read it as this one, so it counts.
        return [value if name == self.name else b"" for name, _, value in pairs if name.strip(b" \t") == self.name]


def check_ambient(method: str, fields: Fields, origins: Collection[bytes]) -> None:
    """Checks that a page of *origins* sent a credential that was attached by itself.

    Raises Forbidden (as `same_origin`), and UnsupportedMediaType where more than a read is not declared as JSON.
    """
    same_origin(method, fields, origins)
    if method not in _READS and method != "DELETE":  # no form sends a DELETE
        _declared_as_json(fields)


def same_origin(method: str, fields: Fields, origins: Collection[bytes]) -> None:
    """Checks that a page of *origins* sent this, by Sec-Fetch-Site or else Origin; neither may deny it.

    A read with neither passes: browsers before 2023 send none with a page's own GET. It changes nothing, and its answer
    opens to no other origin. Raises Forbidden (OWASP CSRF Prevention Cheat Sheet; W3C Fetch Metadata).
    """
    site, origin = first(fields, b"sec-fetch-site"), first(fields, b"origin")
    if site not in (None, _SAME_ORIGIN):
        raise _cross_site("Sec-Fetch-Site is not same-origin")
    if origin is not None and origin not in origins:
        raise _cross_site("Origin is not ours")
    if site is None and origin is None and method not in _READS:
        raise _cross_site("neither Sec-Fetch-Site nor Origin")


def _declared_as_json(fields: Fields) -> None:
    """Checks the media type, which no form can send, even where there is no body.

    Raises UnsupportedMediaType.
    """
    if not first(fields, b"content-type"):
        raise UnsupportedMediaType()
    json_content_type(by_name(fields))


def _cross_site(reason: str) -> Forbidden:
    return Forbidden("Only pages of this service's own origin may do this", error_type="cross_site", reason=reason)

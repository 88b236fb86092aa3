"""A session cookie in the place of an Authorization field: for pages of our own origin, and for nobody else's.

A browser sends a cookie with what any page makes it send, so a cookie alone says who, not who asked. Nothing here ever
sets one: that is the login service's, which should make it `Secure; HttpOnly; SameSite=Lax; Path=/`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from proxy.errors import Forbidden, HeadTooLarge, Unauthenticated, UnsupportedMediaType
from proxy.http.fields import Fields, by_name, first
from proxy.http.request_body import json_content_type

MAX_COOKIES = 16 * 1024  # bytes of all Cookie fields; browsers keep 4 KiB a cookie

_READS = frozenset({"GET", "HEAD"})
_SAME_ORIGIN = b"same-origin"
# A JWT in its one spelling: what is quoted, escaped or folded never came from a login service that means us.
_TOKEN = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class SessionCookie:
    """*name* is compared byte for byte; *origins* are those of the service itself, as browsers write them."""

    name: bytes
    origins: frozenset[bytes]

    def as_authorization(self, method: str, fields: Fields) -> Fields:
        """*fields* as they are, or where no Authorization is among them, the session cookie as one.

        An Authorization of any kind decides alone: what is wrong with it never falls back to the cookie. Raises
        Forbidden (as `same_origin`), UnsupportedMediaType where more than a read is not declared as JSON,
        Unauthenticated where the name comes twice or holds no token, and HeadTooLarge.
        """
        if first(fields, b"authorization") is not None:
            return fields
        found = self._values(fields)
        if not found:
            return fields
        same_origin(method, fields, self.origins)
        if method not in _READS:
            _declared_as_json(fields)
        if len(found) > 1:
            raise Unauthenticated(reason="several session cookies")
        if _TOKEN.fullmatch(found[0]) is None:
            raise Unauthenticated(reason="the session cookie holds no token")
        return ((b"authorization", b"Bearer " + found[0]),)

    def _values(self, fields: Fields) -> list[bytes]:
        """Every value of the cookie, split as RFC 6265 section 5.4 joins: no quotes, no commas, no older syntax."""
        lines = [value for name, value in fields if name == b"cookie"]
        if sum(map(len, lines)) > MAX_COOKIES:
            raise HeadTooLarge()
        pairs = [pair.strip(b" \t").partition(b"=") for line in lines for pair in line.split(b";")]
        # Blanks round the name are no browser's; another parser in front may yet have read it as ours, so it counts.
        return [value if name == self.name else b"" for name, _, value in pairs if name.strip(b" \t") == self.name]


def same_origin(method: str, fields: Fields, origins: Collection[bytes]) -> None:
    """Whether a page of ours made the browser send this: Sec-Fetch-Site says so, or else Origin, and neither denies it.

    A read with neither passes: browsers before 2023 send none with a page's own GET; it changes nothing, and its answer
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
    """Which no form can be, even where there is no body. Raises UnsupportedMediaType."""
    if not first(fields, b"content-type"):
        raise UnsupportedMediaType()
    json_content_type(by_name(fields))


def _cross_site(reason: str) -> Forbidden:
    return Forbidden("Only pages of this service's own origin may do this", error_type="cross_site", reason=reason)

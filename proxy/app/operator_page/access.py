"""Access to the operator page: which Host a request may name, and which token it needs. Pure."""

from __future__ import annotations

import hmac
import ipaddress
from base64 import b64decode
from collections.abc import Collection
from dataclasses import dataclass, field

from proxy.errors import BadRequest, Forbidden, NotFound, Unauthenticated
from proxy.http.fields import Fields, first
from proxy.http.hosts import is_loopback, parse_host_field

_BASIC, _BEARER = b"basic ", b"bearer "
_OFF = "The operator page needs a loopback [admin] host, or [admin] token_env"
# Fetch metadata of a page of another site; a link that leads here is a navigation.
_ELSEWHERE = (b"cross-site", b"same-site")


@dataclass(frozen=True, slots=True)
class PageAccess:
    """Rules of one configuration: *host* of the admin listener, *token* where one is needed."""

    host: str
    allowed_hosts: Collection[str] = ()
    token: str | None = field(repr=False, default=None)

    @property
    def is_on(self) -> bool:
        """True where the page is served at all."""
        return self.token is not None or is_loopback(self.host)

    def check(self, fields: Fields) -> None:
        """Checks a request.

        Raises NotFound where the page is off, BadRequest for another Host, Forbidden for a page of another site, and
        Unauthenticated.
        """
        if not self.is_on:
            raise NotFound(_OFF)
        self._check_host(first(fields, b"host") or b"")
        if first(fields, b"sec-fetch-site") in _ELSEWHERE and first(fields, b"sec-fetch-mode") != b"navigate":
            raise Forbidden("Only the operator page itself may read this", error_type="cross_site")
        if self.token is not None and not self._is_token(first(fields, b"authorization") or b""):
            raise Unauthenticated(reason="the admin token is missing or wrong")

    def _check_host(self, value: bytes) -> None:
        """Refuses a name that an attacker could lead here (DNS rebinding). An address cannot be led elsewhere."""
        host = (parse_host_field(value) or b"").decode("ascii")
        if host not in ("localhost", self.host.lower()) and host not in map(str.lower, self.allowed_hosts):
            try:
                ipaddress.ip_address(host.strip("[]"))
            except ValueError:
                raise BadRequest(
                    "The Host header names another service than the operator page", error_type="malformed_request"
                ) from None

    def _is_token(self, authorization: bytes) -> bool:
        """Returns whether the field holds the token: as Bearer, or as the password of Basic with any user."""
        given = authorization[len(_BEARER) :]
        if authorization.lower().startswith(_BASIC):
            given = _basic_password(authorization[len(_BASIC) :])
        elif not authorization.lower().startswith(_BEARER):
            return False
        return hmac.compare_digest(given.strip(), (self.token or "").encode("ascii"))


def _basic_password(value: bytes) -> bytes:
    try:
        return b64decode(value.strip(), validate=True).partition(b":")[2]
    except ValueError:
        return b""

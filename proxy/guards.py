"""The first thing every request meets, whatever server carries it: what no honest client sends ends here."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from ipaddress import IPv6Address

from starlette.types import Scope

from proxy.errors import CLOSE, BadRequest, MethodNotAllowed

Fields = Iterable[tuple[bytes, bytes]]

METHODS = ("GET", "HEAD", "POST", "PUT", "OPTIONS")
_VERSIONS = frozenset({"1.0", "1.1"})

# Fields that decide something. Of two, a proxy in front may have read the other one.
_ONCE = frozenset(
    {
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"content-type",
        b"authorization",
        b"idempotency-key",
        b"x-fal-target-url",
    }
)

# RFC 9110 section 7.2, narrowed to what can be a name in DNS, an IPv4 address or a bracketed IPv6 address.
_LABEL = rb"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rb"(%b(?:\.%b)*\.?|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?" % (_LABEL, _LABEL))


def guard(scope: Scope, *, allowed_hosts: Collection[bytes] = frozenset()) -> None:
    """Raises BadRequest, which ends the connection, or MethodNotAllowed.

    *allowed_hosts* are names in lower case without a port; none of them means any. The Host decides nothing else.
    """
    check_framing(scope["http_version"], scope["raw_path"], scope["headers"])
    if b"#" in scope["query_string"]:
        raise malformed("The request target must be a path, with or without a query")
    if scope["method"] not in METHODS:
        raise MethodNotAllowed(METHODS)
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in _ONCE:
            if name in found:
                raise malformed(f"The header {name.decode('ascii')} is given twice")
            found[name] = value
    if b"content-length" in found and b"transfer-encoding" in found:
        raise malformed("Content-Length and Transfer-Encoding exclude each other")
    host = _host(found.get(b"host", b""))
    if host is None or (allowed_hosts and host not in allowed_hosts):
        raise malformed("One valid Host header is needed, naming this service")


def check_framing(version: str, target: bytes, fields: Fields) -> None:
    """What must hold before one more byte of the connection is read as HTTP. Raises BadRequest.

    *target* is the request-target as sent, or its path. A server that keeps reading requests after an Upgrade it
    does not do will read one out of the body (Kludex/uvicorn#2722).
    """
    if version not in _VERSIONS:
        raise malformed("This is an HTTP/1.1 service")
    if not target.startswith(b"/") or b"#" in target:
        raise malformed("The request target must be a path, with or without a query")
    for name, value in fields:
        if name == b"upgrade":
            raise malformed("There is nothing to upgrade to here")
        if name == b"transfer-encoding" and (value.lower() != b"chunked" or version == "1.0"):
            raise malformed("The only transfer coding here is HTTP/1.1's chunked")


def malformed(detail: str) -> BadRequest:
    return BadRequest(detail, error_type="malformed_request", headers=[CLOSE])


def _host(value: bytes) -> bytes | None:
    match = _HOST.fullmatch(value)
    if match is None:
        return None
    host = match[1].lower()
    if host.startswith(b"["):
        try:
            IPv6Address(host[1:-1].decode("ascii"))
        except ValueError:
            return None
    return host

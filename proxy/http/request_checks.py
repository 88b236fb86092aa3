"""The first thing every request meets, whatever server carries it: what no honest client sends ends here."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv6Address

from starlette.types import Scope

from proxy.errors import CLOSE, BadRequest, MethodNotAllowed

METHODS = ("GET", "HEAD", "POST", "PUT", "OPTIONS")
NO_UPGRADE = "There is nothing to upgrade to here"
_NO_PATH = "The request target must be a path, with or without a query"
_VERSIONS = frozenset({"1.0", "1.1"})

# Fields that decide something. Of two, a proxy in front may have read the other one.
_SINGLETONS = frozenset(
    {
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"upgrade",
        b"content-type",
        b"content-encoding",
        b"authorization",
        b"idempotency-key",
        b"x-fal-target-url",
        b"origin",
        b"sec-fetch-site",
    }
)

# RFC 9110 section 7.2, narrowed to what can be a name in DNS, an IPv4 address or a bracketed IPv6 address.
_LABEL = rb"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rb"(%b(?:\.%b)*\.?|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?" % (_LABEL, _LABEL))


def check_request(
    scope: Scope, *, allowed_hosts: Collection[bytes] = frozenset(), methods: Sequence[str] = METHODS
) -> Mapping[bytes, bytes]:
    """The fields by name; of those that decide something there is one. Raises BadRequest, which ends the connection,
    or MethodNotAllowed.

    *allowed_hosts* are names in lower case without a port; none of them means any. The Host decides nothing else.
    """
    version = scope["http_version"]
    if b"#" in scope["query_string"]:
        raise malformed(_NO_PATH)
    found = _singleton_fields(scope["headers"])
    if b"upgrade" in found:
        raise malformed(NO_UPGRADE)
    coding = found.get(b"transfer-encoding")
    if coding is not None and (coding.lower() != b"chunked" or version == "1.0" or b"content-length" in found):
        raise malformed("The length of a request is its Content-Length, or chunked in HTTP/1.1")
    host = _host(found.get(b"host", b""))
    if host is None or (allowed_hosts and host not in allowed_hosts):
        raise malformed("One valid Host header is needed, naming this service")
    if scope["method"] not in methods:
        raise MethodNotAllowed(methods)
    return found


def check_request_line(version: str, target: bytes) -> None:
    """*target* is the request-target as sent, or its path. Raises BadRequest."""
    if version not in _VERSIONS:
        raise malformed("This is an HTTP/1.1 service")
    if not target.startswith(b"/") or b"#" in target or not target.isascii():
        raise malformed(_NO_PATH)


def malformed(detail: str) -> BadRequest:
    return BadRequest(detail, error_type="malformed_request", headers=[CLOSE])


def _singleton_fields(fields: Sequence[tuple[bytes, bytes]]) -> Mapping[bytes, bytes]:
    found = dict(fields)
    if len(found) < len(fields):
        names = [name for name, _ in fields]
        for name in _SINGLETONS.intersection(names):
            if names.count(name) > 1:
                raise malformed(f"The header {name.decode('ascii')} is given twice")
    return found


@lru_cache(maxsize=1024)
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

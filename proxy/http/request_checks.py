"""First checks of every request, under any server: refuses what no honest client sends."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from starlette.types import Scope

from proxy.errors import CLOSE, BadRequest, MethodNotAllowed
from proxy.http.hosts import parse_host_field

METHODS = ("GET", "HEAD", "POST", "PUT", "OPTIONS")
NO_UPGRADE = "There is nothing to upgrade to here"
_NO_PATH = "The request target must be a path, with or without a query"
_VERSIONS = frozenset({"1.0", "1.1"})

# Fields that must not be repeated: a front proxy might act on another copy than the gateway does.
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


def check_request(
    scope: Scope, *, allowed_hosts: Collection[bytes] = frozenset(), methods: Sequence[str] = METHODS
) -> Mapping[bytes, bytes]:
    """Checks a request whose request line has been checked, and returns its fields by name.

    *allowed_hosts* are names in lower case without a port; none of them means any. The Host decides nothing else.
    Raises BadRequest, which ends the connection, and MethodNotAllowed.
    """
    version = scope["http_version"]
    if b"#" in scope["query_string"]:
        raise malformed(_NO_PATH)
    fields_by_name = _singleton_fields(scope["headers"])
    if b"upgrade" in fields_by_name:
        raise malformed(NO_UPGRADE)
    coding = fields_by_name.get(b"transfer-encoding")
    if coding is not None and (coding.lower() != b"chunked" or version == "1.0" or b"content-length" in fields_by_name):
        raise malformed("The length of a request is its Content-Length, or chunked in HTTP/1.1")
    host = parse_host_field(fields_by_name.get(b"host", b""))
    if host is None or (allowed_hosts and host not in allowed_hosts):
        raise malformed("One valid Host header is needed, naming this service")
    if scope["method"] not in methods:
        raise MethodNotAllowed(methods)
    return fields_by_name


def check_request_line(version: str, target: bytes) -> None:
    """Checks the HTTP *version* and *target*, the request-target as sent or its path. Raises BadRequest."""
    if version not in _VERSIONS:
        raise malformed("This is an HTTP/1.1 service")
    if not target.startswith(b"/") or b"#" in target or not target.isascii():
        raise malformed(_NO_PATH)


def malformed(detail: str) -> BadRequest:
    return BadRequest(detail, error_type="malformed_request", headers=[CLOSE])


def _singleton_fields(fields: Sequence[tuple[bytes, bytes]]) -> Mapping[bytes, bytes]:
    fields_by_name = dict(fields)
    if len(fields_by_name) < len(fields):
        names = [name for name, _ in fields]
        for name in _SINGLETONS.intersection(names):
            if names.count(name) > 1:
                raise malformed(f"The header {name.decode('ascii')} is given twice")
    return fields_by_name

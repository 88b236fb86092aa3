"""Attributes of spans, by OpenTelemetry's semantic conventions for HTTP. Pure.

None may be a secret, a payload or a user. A caller's path has job handles and the credential of fal's callbacks, so
that only its route is shown. A query may hold a credential, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from proxy.telemetry.access_record import AccessRecord

Attributes = Mapping[str, str | int | float | bool | Sequence[str]]

_PORTS = {"http": 80, "https": 443}
REDACTED = "REDACTED"  # the word of the conventions for what is scrubbed
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_ROUTES = frozenset(
    {"proxy", "queue", "run", "storage", "tokens", "usage", "jobs", "quote", "session", "openapi.json", "webhooks"}
)
_REQUEST_ID = re.compile(r"(?<=/requests/)[^/]+")
_KEY_DIGITS = 16  # of a caller's key, as in the journal
_SERVER_ERROR = 500  # from here on a server's span has failed; a 4xx is its caller's
_CLIENT_ERROR = 400  # from here on a client's span has failed


def method_name(method: str) -> str:
    """Returns *method*, or the conventions' word for one that HTTP does not have."""
    return method if method in _METHODS else "_OTHER"


def redacted_route(path: str, prefix: str) -> str | None:
    """Returns the route of a request below *prefix*, without what its caller has put into the path."""
    _, found, rest = path.partition(f"{prefix}/")
    first, slash, _ = rest.partition("/")
    return f"{prefix}/{first}{slash and '/{path}'}" if found and first in _ROUTES else None


def server_attributes(method: str, path: str, *, prefix: str, origin: str) -> dict[str, str | int]:
    """Returns what is known when a request arrives. *origin* is the public one."""
    attributes = {"http.request.method": method_name(method), **_address(origin)}
    attributes["url.scheme"] = origin.partition(":")[0]
    route = redacted_route(path, prefix)
    if route is not None:
        attributes |= {"http.route": route, "url.path": route.replace("{path}", REDACTED)}
    return attributes


def request_name(attributes: Mapping[str, str | int]) -> str:
    """Returns the name of a request whose operation is not known: its method and its route."""
    return f"{attributes['http.request.method']} {attributes.get('http.route', '')}".rstrip()


def record_attributes(record: AccessRecord, *, shows_callers: bool) -> dict[str, str | int | float | Sequence[str]]:
    """Returns what is known when a request has ended."""
    status = record.status
    facts: dict[str, str | int | float | Sequence[str] | None] = {
        "http.response.status_code": status or None,
        "http.response.body.size": record.response_bytes,
        "error.type": failure(record),
        "enduser.pseudo.id": record.caller[:_KEY_DIGITS] if shows_callers and record.caller is not None else None,
        "fal_proxy.request_id": record.request_id,
        "fal_proxy.action": record.action,
        "fal_proxy.endpoint": record.endpoint,
        "fal_proxy.outcome": None if record.outcome is None else str(record.outcome),
        "fal_proxy.error_type": record.error_type,
        "fal_proxy.limit": record.limit[1:] or None,
        "fal_proxy.would_deny": record.observed or None,
        "fal_proxy.job": record.job,
        "fal_proxy.stream_end": record.ended,
        "fal_proxy.upstream_ms": record.upstream_ms,
    }
    return {name: value for name, value in facts.items() if value is not None}


def failure(record: AccessRecord) -> str | None:
    """Returns the error type of a request that failed; a refusal with 4xx is no failure."""
    return (record.error_type or str(record.status)) if record.status >= _SERVER_ERROR else None


def call_name(method: str, path: str) -> str:
    """Returns the name of a call to fal. Endpoints are listed ones, so that there are few names."""
    return f"{method} {_REQUEST_ID.sub('{request_id}', _without_query(path))}"


def call_attributes(method: str, origin: str, path: str) -> dict[str, str | int]:
    """Returns what is known when a request is sent to *origin* with *path*, whose query is left out."""
    path = _without_query(path)
    return {
        "http.request.method": method,
        "url.full": f"{origin}{path}",
        "url.template": _REQUEST_ID.sub("{request_id}", path),
        **_address(origin),
    }


def call_failure(status: int) -> str | None:
    """Returns the error type of a call that was answered with *status*, None for a success."""
    return str(status) if status >= _CLIENT_ERROR else None


def _without_query(path: str) -> str:
    return path.partition("?")[0]


def _address(origin: str) -> dict[str, str | int]:
    parts = urlsplit(origin)
    return {"server.address": parts.hostname or "", "server.port": parts.port or _PORTS[parts.scheme]}

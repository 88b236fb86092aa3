"""Which of fal's operations a request names: decided once, on raw bytes, by one anchored grammar for both modes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from proxy import webhook_urls
from proxy.errors import BadRequest, Forbidden, MethodNotAllowed, NotFound, TargetNotFal


class Action(StrEnum):
    """What a caller may ask of an endpoint; the names are those of the configuration's `actions`."""

    SUBMIT = "submit"
    STATUS = "status"
    STATUS_STREAM = "status-stream"
    RESULT = "result"
    CANCEL = "cancel"
    RUN = "run"
    RUN_STREAM = "run-stream"


class Surface(StrEnum):
    """One of fal's hosts. In path mode the value is the first path segment after the prefix."""

    QUEUE = "queue"
    RUN = "run"
    STORAGE = "storage"


@dataclass(frozen=True, slots=True)
class Target:
    """*endpoint* is the id as called, *app* its `[namespace/]owner/alias`, *handle* the job id as sent, unchecked.

    *query* is rebuilt from the allow-list, never the caller's string.
    """

    action: Action
    endpoint: str
    app: str
    handle: str | None = None
    query: str = ""
    surface: Surface = Surface.QUEUE


SURFACES: Mapping[bytes, Surface] = {
    b"queue.fal.run": Surface.QUEUE,
    b"fal.run": Surface.RUN,
    b"rest.fal.ai": Surface.STORAGE,
    # The Swift and Dart clients still send the legacy name of the same host.
    b"rest.alpha.fal.ai": Surface.STORAGE,
}

ACTIONS: Mapping[tuple[Surface, bytes], tuple[str, Action]] = {
    (Surface.QUEUE, b""): ("POST", Action.SUBMIT),
    (Surface.QUEUE, b"/requests"): ("GET", Action.RESULT),
    (Surface.QUEUE, b"/requests/response"): ("GET", Action.RESULT),
    (Surface.QUEUE, b"/requests/status"): ("GET", Action.STATUS),
    (Surface.QUEUE, b"/requests/status/stream"): ("GET", Action.STATUS_STREAM),
    (Surface.QUEUE, b"/requests/cancel"): ("PUT", Action.CANCEL),
    (Surface.RUN, b""): ("POST", Action.RUN),
    (Surface.RUN, b"/stream"): ("POST", Action.RUN_STREAM),
}

_FLAG = {b"1": "1", b"true": "1", b"0": "0", b"false": "0"}
_LENGTH = {b"%d" % length: str(length) for length in range(1, 10_001)}

# The JavaScript client writes `logs=1`, the Python client `logs=true`; upstream always hears the documented 1 or 0.
QUERIES: Mapping[Action, Mapping[bytes, Mapping[bytes, str]]] = {
    Action.SUBMIT: {b"fal_max_queue_length": _LENGTH},
    Action.STATUS: {b"logs": _FLAG},
    Action.STATUS_STREAM: {b"logs": _FLAG},
}

NAMESPACES = frozenset({"workflows", "comfy"})

# No endpoint segment may be `requests`, the grammar's own word; no class holds `%`, so nothing is ever decoded.
_SEGMENT = rb"(?!requests(?:/|\Z))[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_ENDPOINT = rb"/(?P<endpoint>%b(?:/%b){1,7}?)" % (_SEGMENT, _SEGMENT)
_PATHS: Mapping[Surface, re.Pattern[bytes]] = {
    # The job id is opaque here: whatever stands in its place must end as the same 404, so it is not judged yet.
    Surface.QUEUE: re.compile(
        _ENDPOINT + rb"(?:/requests/(?P<job>[^/]*)(?P<rest>/response|/status|/status/stream|/cancel)?)?/?"
    ),
    Surface.RUN: re.compile(_ENDPOINT + rb"(?P<rest>/stream)?/?"),
}
_URL = re.compile(
    rb"https://(?P<host>%b)(?P<path>/[^?#]*)(?:\?(?P<query>[^#]*))?" % b"|".join(map(re.escape, SURFACES))
)
_ROUTE = re.compile(rb"/(?P<surface>%b)(?P<path>/.*)" % "|".join(Surface).encode("ascii"), re.DOTALL)
_MAX_ENDPOINT = 512
NO_HOSTS: frozenset[str] = frozenset()
MEMORABLE = 512  # bytes; what a request is resolved from, where the outcome is to be remembered


def resolve(
    method: str, route: bytes, query: bytes, target_url: bytes | None, *, webhook_hosts: frozenset[str] = NO_HOSTS
) -> Target:
    """The target of either mode. *route* is the raw path after the configured prefix; *webhook_hosts* are those that
    `fal_webhook` may name.

    Raises NotFound outside both modes' routes, BadRequest where both modes are mixed or the header is missing, else
    what `resolve_url` and `resolve_path` raise.
    """
    # A client asks for the same job again and again. What is refused raises each time and takes no room.
    short = len(route) + len(query) + len(target_url or b"") <= MEMORABLE
    return (_remembered if short else _resolve)(method, route, query, target_url, webhook_hosts)


def _resolve(
    method: str, route: bytes, query: bytes, target_url: bytes | None, webhook_hosts: frozenset[str]
) -> Target:
    if route in (b"/proxy", b"/proxy/"):
        if target_url is None:
            raise BadRequest("The x-fal-target-url header is missing", error_type="target_missing")
        if query:
            raise BadRequest("The proxy URL takes no query of its own", error_type="bad_query")
        return resolve_url(method, target_url, webhook_hosts=webhook_hosts)
    if (parts := _ROUTE.fullmatch(route)) is None:
        raise NotFound
    if target_url is not None:
        raise BadRequest("x-fal-target-url belongs to the proxy URL only", error_type="malformed_target")
    surface = Surface(parts["surface"].decode("ascii"))
    return resolve_path(method, surface, parts["path"], query, webhook_hosts=webhook_hosts)


_remembered = lru_cache(maxsize=4096)(_resolve)


def resolve_url(method: str, url: bytes, *, webhook_hosts: frozenset[str] = NO_HOSTS) -> Target:
    """The target of header mode: *url* is the raw value of `x-fal-target-url`.

    Raises TargetNotFal where it is not literally one of fal's https URLs, else what `resolve_path` raises.
    """
    if (parts := _URL.fullmatch(url)) is None:
        raise TargetNotFal
    surface = SURFACES[parts["host"]]
    return resolve_path(method, surface, parts["path"], parts["query"] or b"", webhook_hosts=webhook_hosts)


def resolve_path(
    method: str, surface: Surface, path: bytes, query: bytes, *, webhook_hosts: frozenset[str] = NO_HOSTS
) -> Target:
    """The target of *path* (raw, starting with a slash) on one of fal's hosts.

    Raises BadRequest on anything outside the grammar, MethodNotAllowed, and Forbidden for a host nothing is offered on.
    """
    if surface not in _PATHS:
        raise Forbidden("Uploads are not enabled here", error_type="action_not_listed")
    parts = _PATHS[surface].fullmatch(path)
    if parts is None or len(parts["endpoint"]) > _MAX_ENDPOINT:
        raise BadRequest("The target path is not one of fal's", error_type="malformed_target")
    fields = parts.groupdict()
    job: bytes | None = fields.get("job")
    allowed, action = ACTIONS[surface, (b"" if job is None else b"/requests") + (fields["rest"] or b"")]
    if method != allowed:
        raise MethodNotAllowed([allowed])
    endpoint = parts["endpoint"].decode("ascii")
    return Target(
        action=action,
        endpoint=endpoint,
        app=app_of(endpoint),
        handle=None if job is None else job.decode("latin-1"),
        query=_query(action, query, webhook_hosts),
        surface=surface,
    )


def app_of(endpoint: str) -> str:
    """`owner/alias`, or `namespace/owner/alias`: what status, result and cancel are addressed to (fal clients agree).

    Raises BadRequest where a namespace is named but no app in it.
    """
    segments = endpoint.split("/")
    size = 3 if segments[0] in NAMESPACES else 2
    if len(segments) < size:
        raise BadRequest("The target path is not one of fal's", error_type="malformed_target")
    return "/".join(segments[:size])


def endpoint_id(text: str) -> str:
    """*text* itself, where it is an endpoint id as fal writes them. Raises ValueError."""
    if re.fullmatch(_ENDPOINT, f"/{text}".encode()) is None or len(text) > _MAX_ENDPOINT:
        raise ValueError("not an endpoint id (owner/alias[/path], or namespace/owner/alias[/path])")
    if text.split("/")[0] in NAMESPACES and text.count("/") < 2:
        raise ValueError("an endpoint in a namespace is namespace/owner/alias[/path]")
    return text


def _query(action: Action, raw: bytes, webhook_hosts: frozenset[str]) -> str:
    if not raw:
        return ""
    allowed = QUERIES.get(action, {})
    seen: dict[bytes, str] = {}
    for pair in raw.split(b"&"):
        name, _, value = pair.partition(b"=")
        if name in seen:
            raise BadRequest("A query parameter is given twice", error_type="bad_query")
        if name == b"fal_webhook":
            seen[name] = f"fal_webhook={_webhook(action, value, webhook_hosts)}"
            continue
        if name not in allowed or value not in allowed[name]:
            raise BadRequest("The query has a parameter or value that is not accepted here", error_type="bad_query")
        seen[name] = f"{name.decode('ascii')}={allowed[name][value]}"
    return "&".join(seen.values())


def _webhook(action: Action, value: bytes, hosts: frozenset[str]) -> str:
    if action is not Action.SUBMIT or not hosts:
        raise BadRequest("fal_webhook is not accepted here", error_type="webhook_refused")
    try:
        return webhook_urls.rebuilt(value, hosts)
    except ValueError as error:
        raise BadRequest(f"fal_webhook is refused: {error}", error_type="webhook_refused") from error

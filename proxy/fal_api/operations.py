"""Operations of fal, and the target of a request: one anchored grammar on raw bytes for both modes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from proxy.errors import BadRequest, Forbidden, MethodNotAllowed, NotFound, TargetNotFal
from proxy.fal_api import webhook_url
from proxy.fal_api.endpoint_ids import ENDPOINT, MAX_ENDPOINT, app_id


class Action(StrEnum):
    """Operation that a request asks for, under its name in the configuration's `actions`."""

    # Enum hashes in Python code, and a request looks up a dozen tables by these two.
    __hash__ = str.__hash__

    SUBMIT = "submit"
    STATUS = "status"
    STATUS_STREAM = "status-stream"
    RESULT = "result"
    CANCEL = "cancel"
    RUN = "run"
    RUN_STREAM = "run-stream"
    UPLOAD = "upload"
    TOKEN = "token"  # noqa: S105 the name of an action
    SESSION = "session"
    JOBS = "jobs"
    QUOTE = "quote"


# Plain text for the journal and the metrics: an enum is converted, hashed and compared again in each look-up.
ACTION_NAMES: Mapping[Action, str] = {action: str(action) for action in Action}


class Surface(StrEnum):
    """One of fal's hosts. In path mode the value is the first path segment after the prefix.

    STORAGE is rest.fal.ai, which mints tokens too: in path mode its paths follow the prefix as they are.
    """

    __hash__ = str.__hash__

    QUEUE = "queue"
    RUN = "run"
    STORAGE = "storage"


@dataclass(frozen=True, slots=True)
class Target:
    """Target of a request.

    *endpoint* is the id as called, *app* its `[namespace/]owner/alias`, *handle* the job id as sent, unchecked.
    *query* is rebuilt from the allow-list, never the caller's string; the list of jobs parses its own. A target
    without an endpoint has a name of `WITHOUT_ENDPOINT` in both places, and one of fal's REST host has its *path*.
    """

    action: Action
    endpoint: str
    app: str
    handle: str | None = None
    query: str = ""
    surface: Surface = Surface.QUEUE
    path: str = ""


# Names in place of an endpoint id, in budgets, usage and the log. Every endpoint id has a slash, so none is like them.
UPLOADS, REALTIME, JOBS = "uploads", "realtime", "jobs"
WITHOUT_ENDPOINT: Mapping[Action, str] = {Action.UPLOAD: UPLOADS, Action.TOKEN: REALTIME, Action.JOBS: JOBS}

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

# All that is offered of fal's REST host; each is a POST. The JavaScript client mints at `/tokens/`.
REST: Mapping[bytes, tuple[Action, str]] = {
    b"/storage/upload/initiate": (Action.UPLOAD, "/storage/upload/initiate"),
    b"/storage/upload/initiate-multipart": (Action.UPLOAD, "/storage/upload/initiate-multipart"),
    b"/tokens": (Action.TOKEN, "/tokens/"),
    b"/tokens/": (Action.TOKEN, "/tokens/"),
    b"/tokens/realtime": (Action.TOKEN, "/tokens/realtime"),
}

_FLAG = {b"1": "1", b"true": "1", b"0": "0", b"false": "0"}
_LENGTH = {b"%d" % length: str(length) for length in range(1, 10_001)}

# The JavaScript client writes `logs=1`, the Python client `logs=true`; upstream always hears the documented 1 or 0.
QUERIES: Mapping[Action, Mapping[bytes, Mapping[bytes, str]]] = {
    Action.SUBMIT: {b"fal_max_queue_length": _LENGTH},
    Action.STATUS: {b"logs": _FLAG},
    Action.STATUS_STREAM: {b"logs": _FLAG},
    Action.UPLOAD: {b"storage_type": {b"fal-cdn-v3": "fal-cdn-v3", b"gcs": "gcs"}},
}

_PATHS: Mapping[Surface, re.Pattern[bytes]] = {
    # The job id is opaque here: every text in its place must end as the same 404, so it is not parsed yet.
    Surface.QUEUE: re.compile(
        ENDPOINT + rb"(?:/requests/(?P<job>[^/]*)(?P<rest>/response|/status|/status/stream|/cancel)?)?/?"
    ),
    Surface.RUN: re.compile(ENDPOINT + rb"(?P<rest>/stream)?/?"),
}
# fal's bridge for WebRTC sessions: known, and not offered, since its media would bypass the gateway.
_WEBRTC = re.compile(rb"https://wma\.fal\.run(?:[/?][^#]*)?")
_URL = re.compile(
    rb"https://(?P<host>%b)(?P<path>/[^?#]*)(?:\?(?P<query>[^#]*))?" % b"|".join(map(re.escape, SURFACES))
)
_ROUTE = re.compile(rb"/(?P<surface>queue|run)(?P<path>/.*)", re.DOTALL)
_REST_ROUTES = (b"/storage/", b"/tokens/")
# The gateway's own operations: the list of jobs, and a quote for an endpoint.
_OWN_ROUTE = re.compile(rb"/jobs/?|/quote" + ENDPOINT + rb"/?")
NO_HOSTS: frozenset[str] = frozenset()
MAX_CACHED_KEY_BYTES = 512  # bytes; what a request is resolved from, where the outcome is to be remembered


def resolve(
    method: str, route: bytes, query: bytes, target_url: bytes | None, *, webhook_hosts: frozenset[str] = NO_HOSTS
) -> Target:
    """Returns the target of a request in either mode.

    *route* is the raw path after the configured prefix. `fal_webhook` may name a host of *webhook_hosts*. Raises
    NotFound outside both modes' routes, BadRequest where both modes are mixed or the header is missing, else what
    `resolve_url` and `resolve_path` raise.
    """
    # A client asks for the same job again and again. A refused request raises each time and takes no room.
    short = len(route) + len(query) + len(target_url or b"") <= MAX_CACHED_KEY_BYTES
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
    parts, own = _ROUTE.fullmatch(route), _OWN_ROUTE.fullmatch(route)
    if parts is None and own is None and route != b"/tokens" and not route.startswith(_REST_ROUTES):
        raise NotFound
    if target_url is not None:
        raise BadRequest("x-fal-target-url belongs to the proxy URL only", error_type="malformed_target")
    if own is not None:
        return _own_target(method, own["endpoint"], query)
    if parts is None:
        return resolve_path(method, Surface.STORAGE, route, query)
    surface = Surface(parts["surface"].decode("ascii"))
    return resolve_path(method, surface, parts["path"], query, webhook_hosts=webhook_hosts)


_remembered = lru_cache(maxsize=4096)(_resolve)


def resolve_url(method: str, url: bytes, *, webhook_hosts: frozenset[str] = NO_HOSTS) -> Target:
    """Returns the target of header mode. *url* is the raw value of `x-fal-target-url`.

    Raises TargetNotFal where it is not literally one of fal's https URLs, Forbidden for fal's WebRTC host, else what
    `resolve_path` raises.
    """
    if (parts := _URL.fullmatch(url)) is None:
        if _WEBRTC.fullmatch(url) is not None:
            raise Forbidden("WebRTC sessions (wma.fal.run) are not offered here", error_type="action_not_listed")
        raise TargetNotFal
    surface = SURFACES[parts["host"]]
    return resolve_path(method, surface, parts["path"], parts["query"] or b"", webhook_hosts=webhook_hosts)


def resolve_path(
    method: str, surface: Surface, path: bytes, query: bytes, *, webhook_hosts: frozenset[str] = NO_HOSTS
) -> Target:
    """Returns the target of *path* (raw, starting with a slash) on one of fal's hosts.

    Raises BadRequest on anything outside the grammar, MethodNotAllowed, and Forbidden for what is not offered of REST.
    """
    if surface is Surface.STORAGE:
        return _rest_target(method, path, query)
    parts = _PATHS[surface].fullmatch(path)
    if parts is None or len(parts["endpoint"]) > MAX_ENDPOINT:
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
        app=app_id(endpoint),
        handle=None if job is None else job.decode("latin-1"),
        query=_query(action, query, webhook_hosts),
        surface=surface,
    )


def _own_target(method: str, endpoint: bytes | None, query: bytes) -> Target:
    if endpoint is None:
        if method != "GET":
            raise MethodNotAllowed(["GET"])
        return Target(Action.JOBS, JOBS, JOBS, query=query.decode("latin-1"))
    if method != "POST":
        raise MethodNotAllowed(["POST"])
    if query:
        raise BadRequest("A quote takes no query", error_type="bad_query")
    name = endpoint.decode("ascii")
    return Target(Action.QUOTE, name, app_id(name))


def _rest_target(method: str, path: bytes, query: bytes) -> Target:
    if path not in REST:
        raise Forbidden("This is not offered here", error_type="action_not_listed")
    action, fixed = REST[path]
    if method != "POST":
        raise MethodNotAllowed(["POST"])
    name = WITHOUT_ENDPOINT[action]
    return Target(action, name, name, query=_query(action, query, NO_HOSTS), surface=Surface.STORAGE, path=fixed)


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
        return webhook_url.rebuild_webhook_url(value, hosts)
    except ValueError as error:
        raise BadRequest(f"fal_webhook is refused: {error}", error_type="webhook_refused") from error

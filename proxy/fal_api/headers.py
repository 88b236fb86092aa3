"""Header fields that go to fal and back: allow-lists, built from scratch for each message."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from proxy import __version__
from proxy.errors import BadRequest
from proxy.fal_api.operations import Action
from proxy.http.fields import Fields

_SECONDS = re.compile(rb"\d{1,6}(?:\.\d{1,6})?")

# Fields of a caller that go on to fal, by the form of their values (fal docs, common parameters). All others end here,
# above all cdn tokens, webhooks, cookies, credentials and every forwarding header. `JobOptions` rewrites the last five.
REQUEST: Mapping[bytes, re.Pattern[bytes]] = {
    b"x-fal-request-timeout": _SECONDS,
    b"x-fal-request-start-timeout": _SECONDS,
    b"x-fal-queue-priority": re.compile(rb"normal|low"),
    # Any string that the app's provide_hints() returns, such as the id of a model with its slashes.
    b"x-fal-runner-hint": re.compile(rb"[!-~](?:[ -~]{0,254}[!-~])?"),
    b"x-fal-no-retry": re.compile(rb"1|true|yes"),
    b"x-fal-store-io": re.compile(rb"[01]|true|false"),
    b"x-fal-object-lifecycle": re.compile(rb"\{[ -~]{0,1024}\}"),
    b"x-fal-object-lifecycle-preference": re.compile(rb"\{[ -~]{0,1024}\}"),
    b"x-app-fal-disable-fallback": re.compile(rb"[01]|true|false|yes|no"),
    b"x-fal-tags": re.compile(rb"[!-~](?:[ -~]{0,1534}[!-~])?"),
}

# Fields of fal that go on to a caller. The id is rewritten; Retry-After is bounded by the relay.
RESPONSE: Mapping[bytes, re.Pattern[bytes]] = {
    b"x-fal-request-timeout-type": re.compile(rb"[a-z_-]{1,32}"),
    b"x-fal-error-type": re.compile(rb"[a-z_]{1,64}"),
}

_STARTERS = frozenset({Action.SUBMIT, Action.RUN, Action.RUN_STREAM})
# Requests with a JSON body for fal. Of an upload's fields only the lifecycle goes on, and `uploads` rewrites it.
_SENDERS = _STARTERS | {Action.UPLOAD, Action.TOKEN}
_STREAMS = frozenset({Action.STATUS_STREAM, Action.RUN_STREAM})
_AGENT = (b"user-agent", f"fal-auth-proxy/{__version__}".encode())
_JSON = (b"content-type", b"application/json")
# A compressed answer could hide its size and its ids from the gateway.
_IDENTITY = (b"accept-encoding", b"identity")
_ACCEPT_JSON = (b"accept", b"application/json")
_ACCEPT_EVENTS = (b"accept", b"text/event-stream")


def options(action: Action, caller_fields: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[bytes, bytes], ...]:
    """Returns the caller's own fields that may go on to fal: only where a job or a run starts.

    Raises BadRequest with the field that is given twice or has another form.
    """
    if action not in _STARTERS:
        return ()
    forwarded: dict[bytes, bytes] = {}
    for name, value in caller_fields:
        if name not in REQUEST:
            continue
        if name in forwarded or REQUEST[name].fullmatch(value) is None:
            raise BadRequest(f"The header {name.decode('ascii')} is not valid", error_type="bad_header")
        forwarded[name] = value
    return tuple(forwarded.items())


def to_fal(action: Action, authorization: bytes, options: Fields) -> tuple[tuple[bytes, bytes], ...]:
    """Returns all fields of the upstream request but Host and Content-Length, which the connection adds."""
    accept = _ACCEPT_EVENTS if action in _STREAMS else _ACCEPT_JSON
    content = (_JSON,) if action in _SENDERS else ()
    return (b"authorization", authorization), _AGENT, accept, _IDENTITY, *content, *options


def from_fal(fields: Mapping[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    """Returns the fields of fal's answer that go on to the caller. *fields*: all of them, by name."""
    if RESPONSE.keys().isdisjoint(fields):
        return ()
    return tuple(
        (name, fields[name]) for name, form in RESPONSE.items() if name in fields and form.fullmatch(fields[name])
    )

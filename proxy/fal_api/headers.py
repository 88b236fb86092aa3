"""Which header fields cross the gate. Both directions are allow-lists, built from scratch for each message."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from proxy import __version__
from proxy.errors import BadRequest
from proxy.fal_api.operations import Action
from proxy.http.fields import Fields

_SECONDS = re.compile(rb"\d{1,6}(?:\.\d{1,6})?")

# What a caller may say to fal, by the form its value must have (fal docs, common parameters). All else stops here,
# above all store-io, object lifecycle, cdn tokens, webhooks, cookies, credentials and every forwarding header.
REQUEST: Mapping[bytes, re.Pattern[bytes]] = {
    b"x-fal-request-timeout": _SECONDS,
    b"x-fal-request-start-timeout": _SECONDS,
    b"x-fal-queue-priority": re.compile(rb"normal|low"),
    b"x-fal-runner-hint": re.compile(rb"[A-Za-z0-9._-]{1,128}"),
    b"x-fal-no-retry": re.compile(rb"1|true|yes"),
}

# What fal may say to a caller. The id is ours to write; Retry-After is clamped by the relay.
RESPONSE: Mapping[bytes, re.Pattern[bytes]] = {
    b"x-fal-request-timeout-type": re.compile(rb"[a-z_-]{1,32}"),
    b"x-fal-error-type": re.compile(rb"[a-z_]{1,64}"),
}

_STARTERS = frozenset({Action.SUBMIT, Action.RUN, Action.RUN_STREAM})
# What has a JSON body for fal. Of an upload's fields only the lifecycle may go on, and `uploads` writes that anew.
_SENDERS = _STARTERS | {Action.UPLOAD, Action.TOKEN}
_STREAMS = frozenset({Action.STATUS_STREAM, Action.RUN_STREAM})
_AGENT = (b"user-agent", f"fal-auth-proxy/{__version__}".encode())
_JSON = (b"content-type", b"application/json")
# A compressed answer could hide its size and its ids from us.
_IDENTITY = (b"accept-encoding", b"identity")
_ACCEPT_JSON = (b"accept", b"application/json")
_ACCEPT_EVENTS = (b"accept", b"text/event-stream")


def options(action: Action, caller_fields: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[bytes, bytes], ...]:
    """The caller's own fields that may go on to fal: only where a job or a run starts.

    Raises BadRequest naming the field that is given twice or has no meaning.
    """
    if action not in _STARTERS:
        return ()
    chosen: dict[bytes, bytes] = {}
    for name, value in caller_fields:
        if name not in REQUEST:
            continue
        if name in chosen or REQUEST[name].fullmatch(value) is None:
            raise BadRequest(f"The header {name.decode('ascii')} is not valid", error_type="bad_header")
        chosen[name] = value
    return tuple(chosen.items())


def to_fal(action: Action, authorization: bytes, chosen: Fields) -> tuple[tuple[bytes, bytes], ...]:
    """Every field of the upstream request but Host and Content-Length, which belong to the connection."""
    accept = _ACCEPT_EVENTS if action in _STREAMS else _ACCEPT_JSON
    content = (_JSON,) if action in _SENDERS else ()
    return (b"authorization", authorization), _AGENT, accept, _IDENTITY, *content, *chosen


def from_fal(named: Mapping[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    """The fields of fal's answer that go on to the caller."""
    if RESPONSE.keys().isdisjoint(named):
        return ()
    return tuple(
        (name, named[name]) for name, form in RESPONSE.items() if name in named and form.fullmatch(named[name])
    )

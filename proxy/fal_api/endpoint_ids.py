"""fal's endpoint ids: `owner/alias[/path]`, or `namespace/owner/alias[/path]`. Pure."""

from __future__ import annotations

import re

from proxy.errors import BadRequest

NAMESPACES = frozenset({"workflows", "comfy"})
MAX_ENDPOINT = 512  # bytes

# No endpoint segment may be `requests`, the grammar's own word; no class holds `%`, so nothing is ever decoded.
_SEGMENT = rb"(?!requests(?:/|\Z))[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
ENDPOINT = rb"/(?P<endpoint>%b(?:/%b){1,7}?)" % (_SEGMENT, _SEGMENT)


def app_id(endpoint: str) -> str:
    """Returns the app of *endpoint*: `owner/alias`, or `namespace/owner/alias`.

    Status, result and cancel are addressed to it (fal clients agree). Raises BadRequest for a namespace without an app.
    """
    segments = endpoint.split("/")
    size = 3 if segments[0] in NAMESPACES else 2
    if len(segments) < size:
        raise BadRequest("The target path is not one of fal's", error_type="malformed_target")
    return "/".join(segments[:size])


def endpoint_id(text: str) -> str:
    """Returns *text* itself, an endpoint id as fal writes them. Raises ValueError for another text."""
    if re.fullmatch(ENDPOINT, f"/{text}".encode()) is None or len(text) > MAX_ENDPOINT:
        raise ValueError("not an endpoint id (owner/alias[/path], or namespace/owner/alias[/path])")
    if text.split("/")[0] in NAMESPACES and text.count("/") < 2:
        raise ValueError("an endpoint in a namespace is namespace/owner/alias[/path]")
    return text

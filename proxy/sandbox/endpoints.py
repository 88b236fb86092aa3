"""Grammar of endpoint ids."""

from __future__ import annotations

import re

from proxy.sandbox.responses import app_not_found

NAMESPACES = frozenset({"workflows", "comfy"})
_ENDPOINT = re.compile(r"(?:(?!requests(?:/|\Z))[A-Za-z0-9][A-Za-z0-9._-]*(?:/(?!\Z)|\Z)){2,}", re.ASCII)


def app_id(endpoint: str) -> str:
    """Returns `[namespace/]owner/alias` of an endpoint id, the path under which its jobs are read.

    Raises FalError 404 for a malformed id.
    """
    segments = endpoint.split("/")
    size = 3 if segments[0] in NAMESPACES else 2
    if _ENDPOINT.fullmatch(endpoint) is None or len(segments) < size:
        raise app_not_found(endpoint)
    return "/".join(segments[:size])

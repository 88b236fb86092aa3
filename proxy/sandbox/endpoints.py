from __future__ import annotations

import re

from proxy.sandbox.replies import app_not_found

NAMESPACES = frozenset({"workflows", "comfy"})
_ENDPOINT = re.compile(r"(?:(?!requests(?:/|\Z))[A-Za-z0-9][A-Za-z0-9._-]*(?:/(?!\Z)|\Z)){2,}", re.ASCII)


def app_of(endpoint: str) -> str:
    """`[namespace/]owner/alias` of an endpoint id; what follow-ups are addressed to, with or without the rest.

    Raises FalError 404 where the id is none.
    """
    segments = endpoint.split("/")
    size = 3 if segments[0] in NAMESPACES else 2
    if _ENDPOINT.fullmatch(endpoint) is None or len(segments) < size:
        raise app_not_found(endpoint)
    return "/".join(segments[:size])

"""URLs of webhooks: one anchored grammar for callers, and one for the operator's configuration. Pure.

No URL parser reads a caller's text: two parsers may see two hosts in it (WPT urltestdata has many examples).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import quote, unquote_to_bytes

from proxy.http.hosts import DNS_NAME, HOST, MAX_NAME

MAX_URL = 512  # bytes, decoded

# No segment is empty or all dots, none holds a `%`: there is nothing left to decode or to normalize.
_PATH = r"(?:/(?!\.{1,2}(?:[/?]|\Z))[A-Za-z0-9._~-]+)*/?"
_QUERY = r"(?:\?[A-Za-z0-9._~=&-]*)?"
_URL = re.compile(rf"https://(?P<host>{DNS_NAME})(?P<path>{_PATH})(?P<query>{_QUERY})")
_RECEIVER = re.compile(rf"(?P<scheme>https?)://(?P<host>{HOST})(?P<port>:[0-9]{{1,5}})?{_PATH}{_QUERY}")
# As it may stand in a query: `+` would be a space to some readers, so it has no place here.
_VALUE = re.compile(rb"(?:[A-Za-z0-9._~:/?=@!$'()*,;-]|%[0-9A-Fa-f]{2})+")


def rebuild_webhook_url(value: bytes, hosts: Collection[str]) -> str:
    """Returns the value of `fal_webhook` for fal, percent-encoded, from a caller's raw *value*.

    The value is decoded exactly once, and its host must be one of *hosts*. Raises ValueError for anything else than a
    plain https URL on one of *hosts*.
    """
    if len(value) > 3 * MAX_URL or _VALUE.fullmatch(value) is None:
        raise ValueError("not the percent-encoded form of a URL")
    decoded = unquote_to_bytes(value)
    if len(decoded) > MAX_URL or not decoded.isascii():
        raise ValueError(f"not a URL of at most {MAX_URL} ASCII characters")
    parts = _URL.fullmatch(decoded.decode("ascii"))
    if parts is None or parts["host"] not in hosts:
        raise ValueError("not a plain https URL on a listed host")
    return quote(f"https://{parts['host']}{parts['path'] or '/'}{parts['query']}", safe="")


def parse_webhook_host(text: str) -> str:
    """Returns *text* itself, a DNS name in lower case without a port. Raises ValueError for another text."""
    if len(text) > MAX_NAME or re.fullmatch(DNS_NAME, text) is None:
        raise ValueError("must be a host name in lower case, without scheme, port or path, and no IP address")
    return text


def parse_receiver_url(text: str) -> tuple[str, str]:
    """Returns the origin of *text* and *text* itself, the URL of the operator's app. Raises ValueError."""
    parts = _RECEIVER.fullmatch(text)
    if parts is None or len(text) > MAX_URL:
        raise ValueError("must be a plain https URL: host in lower case, path, no userinfo and no fragment")
    return f"{parts['scheme']}://{parts['host']}{parts['port'] or ''}", text

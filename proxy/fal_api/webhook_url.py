"""Where webhooks may lead. One anchored grammar each for what callers ask and for what the operator writes. Pure.

No URL parser looks at a caller's text: two of them may find two hosts in it (WPT urltestdata is full of examples).
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
    """The value of `fal_webhook` for fal, percent-encoded, from a caller's raw *value*; *hosts* are those allowed.

    Decoded exactly once. Raises ValueError for anything else than a plain https URL on one of *hosts*.
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
    """*text* itself, where it is a DNS name in lower case, without a port. Raises ValueError."""
    if len(text) > MAX_NAME or re.fullmatch(DNS_NAME, text) is None:
        raise ValueError("must be a host name in lower case, without scheme, port or path, and no IP address")
    return text


def parse_receiver_url(text: str) -> tuple[str, str]:
    """Origin of *text* and *text* itself: where the operator's app takes deliveries. Raises ValueError."""
    parts = _RECEIVER.fullmatch(text)
    if parts is None or len(text) > MAX_URL:
        raise ValueError("must be a plain https URL: host in lower case, path, no userinfo and no fragment")
    return f"{parts['scheme']}://{parts['host']}{parts['port'] or ''}", text

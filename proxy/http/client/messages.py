"""Requests and responses of the HTTP client."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from proxy.http.fields import Fields

_OWNED = rb"host|connection|content-length|transfer-encoding|upgrade|te|trailer|expect|keep-alive"


_FIELD_LINES = re.compile(rb"(?:(?!(?i:" + _OWNED + rb"):)[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t -~]*\r\n)*")


_PATH = re.compile(rb"/[!\"$-~]*")


_METHODS = frozenset({b"GET", b"POST", b"PUT", b"PATCH", b"DELETE"})  # HEAD and CONNECT would frame answers otherwise


_WITH_CONTENT = frozenset({b"POST", b"PUT", b"PATCH"})


class FieldLines:
    """Header fields without those that belong to the connection, as they go on the wire.

    The repr shows none.

    Raises ValueError if any could change the framing. The callers have checked each field already; this is the last
    line of defence.
    """

    __slots__ = ("fields", "text")

    def __init__(self, fields: Fields) -> None:
        text = b"".join([b"%b: %b\r\n" % field for field in fields])
        # A line end inside a field would only make one line more of it, so the lines are counted.
        if _FIELD_LINES.fullmatch(text) is None or text.count(b"\n") != len(fields):
            raise ValueError("not fields this client sends")
        self.fields = fields
        self.text = text


class UpstreamRequest:
    """Request with a *path* in origin-form, query included. Raises ValueError for an invalid one.

    The repr shows neither fields nor body: one holds the key, the other a prompt.
    """

    __slots__ = ("body", "lines", "method", "path")

    def __init__(self, method: bytes, path: bytes, lines: FieldLines, body: bytes) -> None:
        if method not in _METHODS or _PATH.fullmatch(path) is None:
            raise ValueError("not a request this client sends")
        self.method = method
        self.path = path
        self.lines = lines
        self.body = body

    def __repr__(self) -> str:
        return f"UpstreamRequest({self.method!r}, {self.path!r})"

    @property
    def headers(self) -> Fields:
        return self.lines.fields

    def message(self, authority: bytes) -> bytes:
        """Returns all of it as it goes on the wire, so that it is sent in one write."""
        return self.head(authority) + self.body

    def head(self, authority: bytes) -> bytes:
        """Returns all that goes before the body."""
        length = b"content-length: %d\r\n" % len(self.body) if self.body or self.method in _WITH_CONTENT else b""
        return b"%b %b HTTP/1.1\r\nhost: %b\r\n%b%b\r\n" % (self.method, self.path, authority, self.lines.text, length)


@dataclass(slots=True)
class UpstreamResponse:
    """Response with its *headers* as received, but with names in lower case.

    *body* is decoded from chunks, and from no content coding.
    """

    status: Final[int]
    headers: Final[Fields]
    body: Final[bytes]

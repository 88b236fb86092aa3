"""Requests as they arrive on one connection: httptools parses, and what it does not bound is bounded here."""

from __future__ import annotations

from itertools import chain
from typing import Protocol

import httptools

from proxy.errors import HeadTooLarge, TargetTooLong
from proxy.http.request_checks import NO_UPGRADE, check_request_line, malformed
from proxy.http.server.limits import ListenerLimits


class Taker(Protocol):
    """Who is told of a request, in this order. What it raises ends the parsing and comes out of `Arrival.take`."""

    def begin(self) -> None: ...

    def head(self, arrival: Arrival) -> None:
        """The head of *arrival* is complete, and within its limits."""

    def body(self, content: bytes) -> None: ...

    def whole(self) -> None: ...


class Arrival:
    """The request that is coming: *url* and *fields* (names in lower case) as sent, *expects* a 100 (Continue).

    *version* is "1.0" or "1.1". *is_begun*: some of the request has come, and its end has not.
    """

    def __init__(self, taker: Taker, limits: ListenerLimits) -> None:
        self._taker = taker
        self._limits = limits
        self._parser = httptools.HttpRequestParser(self)
        # What follows a request that closes its connection is no error of the parser: it is counted, and not heard.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._surplus = 0  # bytes read of this request that are not content
        self._in_head = True
        self._begun = False
        self.fields: list[tuple[bytes, bytes]] = []

    @property
    def is_begun(self) -> bool:
        return self._begun or self._surplus > 0

    @property
    def method(self) -> str:
        return str(self._parser.get_method(), "ascii")

    @property
    def keeps_alive(self) -> bool:
        return bool(self._parser.should_keep_alive())

    def take(self, data: bytes) -> None:
        """Raises BadRequest, TargetTooLong, HeadTooLarge and what the taker raises."""
        self._surplus += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            # What a callback raised, a refusal or a fault of ours, is the context of the parser's own error.
            raise error.__context__ or malformed("Not HTTP/1.1") from error
        if self._surplus > (self._limits.head if self._in_head else self._limits.framing):
            raise HeadTooLarge

    def close(self) -> None:
        """Takes no more. The parser holds its callbacks: no circle is left for the collector."""
        del self._parser

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._taker.begin()
        self._begun = True
        self.url = b""
        self.fields = []

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > self._limits.target:
            raise TargetTooLong

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        size = len(self.url) + 4 * len(self.fields) + sum(map(len, chain.from_iterable(self.fields)))
        self._surplus -= size
        if size > self._limits.head or len(self.fields) > self._limits.fields:
            raise HeadTooLarge
        self.version = str(self._parser.get_http_version())
        check_request_line(self.version, self.url)
        if self._parser.should_upgrade():
            # The parser would end the request here and the next be read out of its body (Kludex/uvicorn#2722).
            raise malformed(NO_UPGRADE)
        self.expects = dict(self.fields).get(b"expect", b"").lower() == b"100-continue"
        self._in_head = self._chunked = False
        self._content = 0
        self._taker.head(self)
        self.fields = []  # trailers go here and nowhere: the application must not see them among its header fields

    def on_chunk_header(self) -> None:
        self._chunked = True
        self._chunk_began = self._content

    def on_chunk_complete(self) -> None:
        size = b"%x" % (self._content - self._chunk_began)
        self._surplus -= len(size) + 4  # with two CRLF; what is more, leading zeros too, counts as extension

    def on_body(self, content: bytes) -> None:
        self._surplus -= len(content)
        self._content += len(content)
        self._taker.body(content)

    def on_message_complete(self) -> None:
        # This read may hold some of a next request, which counts too: too strict with one that pipelines kilobytes.
        if self._chunked and self._surplus > self._limits.framing:
            raise HeadTooLarge
        self._surplus = 0  # what this read holds of a next request is not counted: its limits are looser by so much
        self._begun = False
        self._in_head = True
        self._taker.whole()

"""Parser of HTTP/1.1 responses: no I/O and no event loop (RFC 9112).

httptools (llhttp in its strict mode) refuses bare CR and LF, folded lines and spaces before the colon. It also refuses
a wrong, repeated or missing length, and Content-Length beside Transfer-Encoding. Further checks are here.
"""

from __future__ import annotations

from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from proxy.errors import MalformedResponse, ResponseTooLarge
from proxy.http.fields import Fields

_CONTINUE = 100
_BODILESS = frozenset({204, 304})


class ResponseParser:
    """Parser of the responses of one connection, one after another; `reset` before each.

    *max_head* limits, in bytes, all that is not content: the head, chunk sizes and extensions, trailers. It counts from
    the last byte of content, and is checked once a read, so one read may go beyond it.
    """

    def __init__(self, *, max_head: int) -> None:
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._max_head = max_head
        self.reset()

    def reset(self) -> None:
        self.status = 0  # until the final head is complete
        self.fields: Fields = []
        self._incoming: list[tuple[bytes, bytes]] = []
        self.ended = False
        self.keep_alive = False
        self.buffered = 0
        self.declared = 0  # bytes of content by Content-Length, once the head is complete
        self._content: list[bytes] = []
        self._started = False
        self._until_close = False
        self._framing = 0
        self._flaw: str | None = None

    def feed(self, data: bytes) -> None:
        """Parses *data*, one read that is not empty.

        Raises MalformedResponse or ResponseTooLarge, which end the connection.
        """
        if not self._started:
            # llhttp would also take RTSP/1.1, and skip blank lines left over from an earlier answer.
            if not data.startswith(b"H"):
                raise malformed("not an HTTP answer")
            self._started = True
        self._framing += len(data)
        ended_early = self._parse(data)
        if self._flaw is not None:
            raise malformed(self._flaw)
        if ended_early:
            raise malformed("bytes after the end of the answer")
        if self._framing > self._max_head:
            raise ResponseTooLarge(f"more than {self._max_head} bytes without content", sent=True, received=True)

    def close(self) -> None:
        """Notes that the peer has ended its side in good order, which ends a response without a length."""
        self.ended = self.ended or self._until_close

    def drop_parser(self) -> None:
        """Drops the parser, whose reference would keep this object until the collector runs."""
        self._parser = None

    def read_content(self) -> bytes:
        """Returns the content that came since the last call."""
        content = b"".join(self._content)
        self._content.clear()
        self.buffered = 0
        return content

    def _parse(self, data: bytes) -> bool:
        """Returns True where the response ended before the last byte.

        The last byte is fed apart, since llhttp skips blank lines after a response."""
        parser = cast(HttpResponseParser, self._parser)
        try:
            parser.feed_data(data[:-1])
            ended_early = self.ended
            parser.feed_data(data[-1:])
        except (HttpParserError, HttpParserUpgrade) as error:
            raise malformed(self._flaw or str(error)) from error
        return ended_early

    def on_header(self, name: bytes, value: bytes) -> None:
        self._incoming.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        status = cast(HttpResponseParser, self._parser).get_status_code()
        if status == _CONTINUE:
            self._incoming.clear()
            return
        self.fields = self._incoming
        self._incoming = []  # later ones are trailers, not fields of the head
        # A second head in the same read must not cover up the flaw of the first.
        self._flaw = self._flaw or self._check_head(status)
        self.status = status

    def on_body(self, content: bytes) -> None:
        self._content.append(content)
        self.buffered += len(content)
        self._framing = 0

    def on_message_complete(self) -> None:
        if self.status:
            self.ended = True
            self.keep_alive = cast(HttpResponseParser, self._parser).should_keep_alive()

    def _check_head(self, status: int) -> str | None:
        """Returns the error of the complete head, if any (RFC 9110 section 15, RFC 9112 section 6.3)."""
        if cast(HttpResponseParser, self._parser).get_http_version() != "1.1":
            return "not HTTP/1.1"
        if not 200 <= status <= 599:
            return f"status {status} is not a final one"
        fields = dict(self.fields)
        length, coding = fields.get(b"content-length"), fields.get(b"transfer-encoding")
        if coding is not None and (coding.lower() != b"chunked" or self._count(b"transfer-encoding") > 1):
            return "the transfer encoding is not exactly chunked"
        if status in _BODILESS:
            return None if coding is None and length in (None, b"0") else f"a {status} with content"
        self._until_close = coding is None and length is None
        self.declared = int(length or 0)
        return None

    def _count(self, name: bytes) -> int:
        return sum(field == name for field, _ in self.fields)


def malformed(reason: str) -> MalformedResponse:
    return MalformedResponse(reason, sent=True, received=True)

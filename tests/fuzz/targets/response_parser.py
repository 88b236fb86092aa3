"""Answers of fal as the client reads them: against h11, in one read and in many."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import h11
from fuzz.target import Target
from support.hostile_answers import CHUNKED, MALFORMED, SIZED, STRAY, WHOLE

from proxy.errors import MalformedResponse, ResponseTooLarge
from proxy.http.client.response_parser import ResponseParser

MAX_HEAD = 512  # bytes: below what an input has, so that the limit is met
_REASON = re.compile(rb"\A(HTTP/1\.1 [0-9]{3})(?: [^\r\n]*)?\r\n")
_INTERIM = b"HTTP/1.1 100"


class Answer(NamedTuple):
    """A complete response. *keep_alive*: its connection may carry another exchange."""

    status: int
    fields: list[tuple[bytes, bytes]]
    content: bytes
    keep_alive: bool


def check(data: bytes) -> None:
    """Checks *data*: a byte for the size of the reads, then what an upstream sends until it closes."""
    if len(data) < 2:
        return
    size, stream = 1 + data[0], data[1:]
    whole = _answer([stream], len(stream))
    split = _answer([stream[at : at + size] for at in range(0, len(stream), size)], len(stream))
    # The limit on what is not content is checked once a read.
    if isinstance(whole, ResponseTooLarge) or isinstance(split, ResponseTooLarge):
        return
    assert type(whole) is type(split), (whole, split)
    if isinstance(whole, MalformedResponse):
        assert (whole.sent, whole.received) == (True, True), "the outcome would be wrong"
    if not isinstance(whole, Answer):
        return
    assert whole == split, (whole, split)
    assert 200 <= whole.status <= 599
    assert whole == _expected(stream, whole.keep_alive)


def _answer(reads: list[bytes], length: int) -> Answer | MalformedResponse | ResponseTooLarge | None:
    """Returns the complete answer in *reads*, an error, or None for a cut one."""
    parser = ResponseParser(max_head=MAX_HEAD)
    content = b""
    try:
        for read in reads:
            if parser.ended:  # as `Connection.data_received` does
                return MalformedResponse("bytes after the end", sent=True, received=True)
            parser.feed(read)
            assert parser.buffered <= length
            content += parser.read_content()
    except (MalformedResponse, ResponseTooLarge) as error:
        return error
    parser.close()
    if not parser.ended:
        return None
    assert parser.declared in (0, len(content))
    # h11 gives the name of the coding in lower case.
    fields = [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in parser.fields]
    return Answer(parser.status, fields, content, bool(parser.keep_alive))


def _expected(stream: bytes, keep_alive: bool) -> Answer:
    """Returns the answer as h11 reads it, with our opinion of the connection where h11 would end it too."""
    oracle = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    oracle.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    oracle.send(h11.EndOfMessage())
    oracle.receive_data(_plain(stream))
    oracle.receive_data(b"")
    while isinstance(head := oracle.next_event(), h11.InformationalResponse):
        pass
    assert isinstance(head, h11.Response), head
    content = b""
    while isinstance(event := oracle.next_event(), h11.Data):
        content += event.data
    assert isinstance(event, h11.EndOfMessage), event
    assert oracle.trailing_data[0] == b"", "bytes after the end"
    if keep_alive:
        assert oracle.their_state is h11.DONE, "a connection that ends would be used again"
    return Answer(head.status_code, list(head.headers), content, keep_alive)


def _plain(stream: bytes) -> bytes:
    """Returns *stream* without what has no meaning to us and is no HTTP to h11.

    That is the text of a reason phrase, and blank lines after an interim response.
    """
    plain = b""
    while stream.startswith(_INTERIM):
        head, end, stream = stream.partition(b"\r\n\r\n")
        plain += _REASON.sub(rb"\1 OK\r\n", head + end)
        stream = stream.lstrip(b"\r\n")
    return plain + _REASON.sub(rb"\1 OK\r\n", stream)


def seeds() -> Iterable[bytes]:
    """Yields the sound and the malformed answers."""
    for size in (0, 2, 255):
        yield from (bytes([size]) + raw for raw, *_ in WHOLE.values())
        yield from (bytes([size]) + MALFORMED[name] for name in STRAY)
        yield bytes([size]) + b"HTTP/1.1 200 OK\r\n\r\nuntil the end"
    yield from (b"\xff" + raw for raw in MALFORMED.values())
    yield from (b"\x05" + SIZED + b"hi", b"\x05" + CHUNKED + b"a;b=c\r\n0123456789\r\n0\r\n\r\n")


TARGET = Target(
    "response_parser",
    check,
    seeds,
    words=(
        *b"HTTP/1.1 HTTP/1.0 : 200 100 204 304 000 chunked close keep-alive".split(),
        *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b"200 OK", b"100 Continue", b"204 No", b"304 No", b"\x85"),
        *(b"Content-Length: ", b"Transfer-Encoding: ", b"Connection: ", b"Upgrade: a\r\n", b"0\r\n\r\n"),
        *(b"2\r\nhi\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ),
)

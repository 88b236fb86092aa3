from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import cast

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from proxy.errors import BadRequest, ContentTooLarge, HeadTooLarge, Refusal, TargetTooLong
from proxy.http.request_checks import NO_UPGRADE, malformed
from proxy.http.server.connection import HttpConnection
from proxy.http.server.limits import ConnectionLimits
from proxy.http.server.request_head import RequestHead
from proxy.http.server.server import connection_config
from proxy.http.server.state import SharedState

LIMITS = ConnectionLimits(head=2000, fields=10, target=100, framing=1000)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"

Fields = list[tuple[bytes, bytes]]
Head = tuple[str, bytes, Fields, str, bool, bool]  # method, url, fields, version, whether it keeps alive and expects


class Clock:
    """The part of an event loop that a connection without a transport uses."""

    def time(self) -> float:
        return 0.0


async def unused(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError


class Taker(HttpConnection):
    """Records the parser's calls, pieces of a body together; raises *refusal* in the call *at*."""

    def __init__(self, at: str = "", refusal: Exception | None = None, limits: ConnectionLimits = LIMITS) -> None:
        config = connection_config(unused)
        config.load()
        loop = cast(asyncio.AbstractEventLoop, Clock())
        super().__init__(config, ServerState(), {}, loop, shared=SharedState(limits))
        self.events: list[str | bytes | Head] = []
        self._at = at
        self._refusal = refusal

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._note("begin")

    def start_exchange(self, head: RequestHead) -> None:
        # The list and not a copy: what comes later must not be among these.
        self.events.append((head.method, head.url, head.fields, head.version, head.keep_alive, head.expects))
        self._note("head")

    def receive_body(self, content: bytes) -> None:
        if isinstance(before := self.events[-1], bytes):
            self.events[-1] = before + content
        else:
            self.events.append(content)
        self._note("body")

    def finish_request(self) -> None:
        self._note("whole")

    def _note(self, word: str) -> None:
        if word in ("begin", "whole"):
            self.events.append(word)
        if word == self._at and self._refusal is not None:
            raise self._refusal


def arrive(reads: Iterable[bytes], taker: Taker) -> Taker:
    for read in reads:
        taker.parse(read)
    return taker


def bytewise(raw: bytes) -> list[bytes]:
    return [raw[at : at + 1] for at in range(len(raw))]


def events(
    method: str = "GET",
    url: bytes = b"/",
    fields: Fields | None = None,
    version: str = "1.1",
    content: bytes = b"",
    *,
    keeps_alive: bool = True,
    expects: bool = False,
) -> list[str | bytes | Head]:
    head = (method, url, fields or [], version, keeps_alive, expects)
    return ["begin", head, *([content] if content else []), "whole"]


def chunked(content: bytes = b"") -> list[str | bytes | Head]:
    return events("POST", fields=[(b"transfer-encoding", b"chunked")], content=content)


ARRIVALS: dict[str, tuple[bytes, list[str | bytes | Head]]] = {
    "get": (GET, events(fields=[(b"host", b"a")])),
    "no-fields": (b"GET /a?b=%23 HTTP/1.1\r\n\r\n", events(url=b"/a?b=%23")),
    "fields-as-sent": (
        b"GET / HTTP/1.1\r\nX-A:  1 2 \r\nx-a: \xe9\r\nX-B:\r\n\r\n",
        events(fields=[(b"x-a", b"1 2 "), (b"x-a", b"\xe9"), (b"x-b", b"")]),
    ),
    "length": (
        b"PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        events("PUT", fields=[(b"content-length", b"3")], content=b"abc"),
    ),
    "chunks": (CHUNKED + b"3\r\nabc\r\n00a\r\n0123456789\r\n0\r\n\r\n", chunked(b"abc0123456789")),
    "no-chunks": (CHUNKED + b"0\r\n\r\n", chunked()),
    "extensions-and-trailers": (CHUNKED + b"3;a=b\r\nabc\r\n0;c\r\nX: y\r\n\r\n", chunked(b"abc")),
    "1.0": (b"GET / HTTP/1.0\r\n\r\n", events(version="1.0", keeps_alive=False)),
    "1.0-kept": (
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        events(version="1.0", fields=[(b"connection", b"keep-alive")]),
    ),
    "close": (
        b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        events(fields=[(b"connection", b"close")], keeps_alive=False),
    ),
    "expects": (
        b"POST / HTTP/1.1\r\nEXPECT: 100-Continue\r\nContent-Length: 1\r\n\r\na",
        events("POST", fields=[(b"expect", b"100-Continue"), (b"content-length", b"1")], content=b"a", expects=True),
    ),
    "expects-what-is-not": (
        b"GET / HTTP/1.1\r\nExpect: 100\r\n\r\n",
        events(fields=[(b"expect", b"100")]),
    ),
    "blank-lines-before": (b"\r\n\r\n" + GET, events(fields=[(b"host", b"a")])),
    "one-after-another": (
        b"GET /first HTTP/1.1\r\nExpect: 100-continue\r\nX: y\r\n\r\n"
        + GET
        + CHUNKED
        + b"1\r\na\r\n0\r\nX: y\r\n\r\n"
        + GET,
        [
            *events(url=b"/first", fields=[(b"expect", b"100-continue"), (b"x", b"y")], expects=True),
            *events(fields=[(b"host", b"a")]),
            *chunked(b"a"),
            *events(fields=[(b"host", b"a")]),
        ],
    ),
    "behind-a-last-one": (
        b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n" + GET,
        events(fields=[(b"connection", b"close")], keeps_alive=False),
    ),
}


@pytest.mark.parametrize("name", ARRIVALS)
def test_a_request_is_told_in_order(name: str) -> None:
    """Each step comes once, wherever the reads fall; trailers are no fields; nothing stays for the next."""
    raw, steps = ARRIVALS[name]
    for reads in [[raw], bytewise(raw), *([raw[:at], raw[at:]] for at in range(1, len(raw)))]:
        taker = Taker()
        arrive(reads, taker)

        assert taker.events == steps


def test_a_taker_is_told_as_soon_as_it_can_be() -> None:
    """The head before the body has come, and content before its end."""
    taker = Taker()
    counts = []
    for read in [b"PO", b"ST / HTTP/1.1\r\nContent-Length: 3\r\n", b"\r\n", b"ab", b"c"]:
        taker.parse(read)
        counts.append(len(taker.events))

    assert counts == [1, 1, 2, 3, 4]


def reads(raw: bytes, size: int) -> list[bytes]:
    return [raw[at : at + size] for at in range(0, len(raw), size)]


def fields(number: int) -> bytes:
    return b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * number + b"\r\n"


# (what is within the limit, what is above it, how that is refused)
EDGES: dict[str, tuple[bytes, bytes, type[Refusal]]] = {
    "target": (
        b"GET /%b HTTP/1.1\r\n\r\n" % (b"a" * 99),
        b"GET /%b HTTP/1.1\r\n\r\n" % (b"a" * 100),
        TargetTooLong,
    ),
    "target-without-end": (b"GET /" + b"a" * 99, b"GET /" + b"a" * 100, TargetTooLong),
    "fields": (fields(10), fields(11), HeadTooLarge),
    "head-without-end": (
        b"GET / HTTP/1.1\r\nX: ".ljust(2000, b"a"),
        b"GET / HTTP/1.1\r\nX: ".ljust(2001, b"a"),
        HeadTooLarge,
    ),
    "blank-lines": (b"\r\n" * 1000, b"\r\n" * 1001, HeadTooLarge),
    "spaces-in-the-head": (
        b"GET / HTTP/1.1\r\nX:%by\r\n\r\n" % (b" " * 900),
        b"GET / HTTP/1.1\r\nX:%by\r\nContent-Length: 1\r\n\r\n" % (b" " * 1001),
        HeadTooLarge,
    ),
    "extension": (CHUNKED + b"1;" + b"a" * 950, CHUNKED + b"1;" + b"a" * 1000, HeadTooLarge),
    "extensions": (CHUNKED + b"1;abc\r\na\r\n" * 230, CHUNKED + b"1;abc\r\na\r\n" * 251, HeadTooLarge),
    "zeros-before-a-size": (CHUNKED + b"0" * 950 + b"1\r\na\r\n", CHUNKED + b"0" * 1001 + b"1\r\na\r\n", HeadTooLarge),
    "trailer-without-end": (CHUNKED + b"0\r\nX: " + b"a" * 950, CHUNKED + b"0\r\nX: " + b"a" * 1001, HeadTooLarge),
    "trailers": (
        CHUNKED + b"0\r\n" + b"X: y\r\n" * 160 + b"\r\n",
        CHUNKED + b"0\r\n" + b"X: y\r\n" * 168 + b"\r\n",
        HeadTooLarge,
    ),
    "extension-of-the-last": (
        CHUNKED + b"0;" + b"a" * 950 + b"\r\n\r\n",
        CHUNKED + b"0;" + b"a" * 1000 + b"\r\n\r\n",
        HeadTooLarge,
    ),
}


@pytest.mark.parametrize("size", [100, 1])
@pytest.mark.parametrize("name", EDGES)
def test_what_the_parser_does_not_bound_is_bounded(name: str, size: int) -> None:
    """Up to its limit it is let through, above it refused, wherever the reads fall, ended or not."""
    within, above, refusal = EDGES[name]
    arrive(reads(within, size), Taker())

    with pytest.raises(Refusal) as caught:
        arrive(reads(above, size), Taker())
    assert type(caught.value) is refusal


@pytest.mark.parametrize(
    ("value", "fits"), [(1994, True), (1995, False), (3000, False)], ids=["as-large-as-may-be", "larger", "much-larger"]
)
def test_a_head_in_one_read_is_bounded_too(value: int, fits: bool) -> None:
    """By what becomes of it: the target, and each field with four bytes for its signs."""
    taker = Taker()
    raw = b"GET / HTTP/1.1\r\nX: %b\r\n\r\n" % (b"a" * value)
    if fits:
        arrive([raw], taker)
    else:
        with pytest.raises(HeadTooLarge):
            arrive([raw], taker)

    assert len(taker.events) == (3 if fits else 1)


LONG: dict[str, bytes] = {
    "content": b"POST / HTTP/1.1\r\nContent-Length: 50000\r\n\r\n" + b"a" * 50_000,
    "chunk": CHUNKED + b"c350\r\n" + b"a" * 50_000 + b"\r\n0\r\n\r\n",
    "chunks": CHUNKED + b"1\r\na\r\n" * 5_000 + b"10\r\n0123456789abcdef\r\n" * 1_000 + b"0\r\n\r\n",
    "requests": (CHUNKED + b"3;%b\r\nabc\r\n0\r\nX: %b\r\n\r\n" % (b"a" * 400, b"a" * 400)) * 10,
    "spaces-in-a-head": CHUNKED + b"0\r\n\r\nGET / HTTP/1.1\r\nX:%by\r\n\r\n" % (b" " * 1500) + GET,
    "heads": b"GET / HTTP/1.1\r\nX: %b\r\n\r\n" % (b"a" * 1900) * 10,
}


@pytest.mark.parametrize("step", [64, LIMITS.framing])
@pytest.mark.parametrize("name", LONG)
def test_content_is_no_framing(name: str, step: int) -> None:
    """Content and sizes of valid chunks are no framing, and each request has limits of its own."""
    raw = LONG[name]
    taker = Taker()
    arrival = arrive([raw[at : at + step] for at in range(0, len(raw), step)], taker)

    assert taker.events[-1] == "whole"
    assert not arrival.has_begun


REFUSALS = [malformed("One at a time"), ContentTooLarge(), TargetTooLong()]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.error_type)
@pytest.mark.parametrize("at", ["begin", "head", "body", "whole"])
def test_a_refusal_of_the_taker_comes_out_as_itself(at: str, refusal: Refusal) -> None:
    """A refusal ends the parsing: there are no events after it."""
    taker = Taker(at, refusal)
    with pytest.raises(Refusal) as caught:
        arrive([CHUNKED + b"1\r\na\r\n0\r\n\r\n" + GET], taker)

    assert caught.value is refusal
    assert taker.events == chunked(b"a")[: ["begin", "head", "body", "whole"].index(at) + 1]


NO_PATH = "The request target must be a path, with or without a query"
NO_HTTP = "Not HTTP/1.1"
NO_VERSION = "This is an HTTP/1.1 service"

MALFORMED: dict[str, tuple[bytes, str]] = {
    "tls": (b"\x16\x03\x01\x02\x00", NO_HTTP),
    "http-2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", NO_HTTP),
    "http-2-request": (b"GET / HTTP/2.0\r\n\r\n", NO_VERSION),
    "http-0.9": (b"GET /\r\n\r\n", NO_VERSION),
    "absolute": (b"GET http://a/ HTTP/1.1\r\n\r\n", NO_PATH),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\n\r\n", NO_PATH),
    "connect": (b"CONNECT a:443 HTTP/1.1\r\n\r\n", NO_PATH),
    "connect-a-path": (b"CONNECT / HTTP/1.1\r\n\r\n", NO_UPGRADE),
    "upgrade": (b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", NO_UPGRADE),
    "field": (b"GET / HTTP/1.1\r\nX Y: z\r\n\r\n", NO_HTTP),
    "two-lengths": (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", NO_HTTP),
    "chunk-size": (CHUNKED + b"x\r\n", NO_HTTP),
    "chunk-end": (CHUNKED + b"1\r\nab\r\n", NO_HTTP),
}


@pytest.mark.parametrize("whole", [True, False], ids=["in-one-read", "byte-by-byte"])
@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_request_is_malformed(name: str, whole: bool) -> None:
    """A malformed request is one refusal, and no request is complete."""
    raw, detail = MALFORMED[name]
    taker = Taker()
    with pytest.raises(BadRequest) as caught:
        arrive([raw] if whole else bytewise(raw), taker)

    assert (caught.value.detail, caught.value.error_type) == (detail, "malformed_request")
    assert "whole" not in taker.events


# (reads, whether some of a request has come after each of them, and its end has not)
BEGUN: dict[str, list[tuple[bytes, bool]]] = {
    "head": [(b"G", True), (b"ET / HTTP/1.1\r\n", True), (b"\r\n", False)],
    "at-once": [(GET, False), (GET, False)],
    "blank-line": [(b"\r\n", True), (GET, False)],
    "body": [(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n", True), (b"a", True), (b"b", False)],
    "chunks": [(CHUNKED, True), (b"1\r\na\r\n", True), (b"0\r\n", True), (b"\r\n", False)],
    "trailers": [(CHUNKED + b"0\r\nX: y\r\n", True), (b"\r\n", False), (b"G", True)],
}


@pytest.mark.parametrize("name", BEGUN)
def test_a_request_is_begun_until_it_is_whole(name: str) -> None:
    """From its first byte."""
    arrival = Taker()
    assert not arrival.has_begun
    seen = []
    for read, _ in BEGUN[name]:
        arrival.parse(read)
        seen.append(arrival.has_begun)

    assert seen == [begun for _, begun in BEGUN[name]]

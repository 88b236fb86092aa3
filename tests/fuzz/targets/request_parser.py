"""Requests as the server reads them: against h11, in one read and in many, and under overload."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterable
from functools import cache
from types import SimpleNamespace
from typing import NamedTuple, cast

import h11
import uvicorn
from fuzz.target import Target
from starlette.types import Message, Receive, Scope, Send
from support.hostile_http import HOSTILE, request
from support.raw_http import replies
from uvicorn.server import ServerState

from proxy.errors import Refusal
from proxy.fal_api.call_ranks import CallRanks
from proxy.http.request_checks import check_request
from proxy.http.server.connection import HttpConnection
from proxy.http.server.load_limit import LoadLimit
from proxy.http.server.overload import Overload
from proxy.http.server.state import SharedState

TICKS = 4  # turns of the event loop in which the application answers
MOST_READS = 30
REFUSALS = frozenset({400, 405, 413, 414, 431})
# Leniencies of llhttp without a second meaning. RFC 9112 wants blank lines before a request skipped (section 2.2). It
# allows several spaces in the request line (section 3). h11 takes no chunk size of more than twenty digits, zeros too.
_REQUEST_LINE = re.compile(rb"\A([A-Z]+) +([^ \r\n]+) +(HTTP/1\.[01]\r\n)")
_ZEROS = re.compile(rb"(?<=\r\n)0{20,}")


class Request(NamedTuple):
    """A request as the application received it."""

    method: bytes
    target: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes


class FakeTransport(asyncio.Transport):
    """Transport that keeps what is written, and notes whether more may be delivered."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self._is_open = self._is_reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert self._is_open, "written after the end"
        self.written += data

    def write_eof(self) -> None:
        self._is_open = False

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self._is_open = self._is_reading = False

    def abort(self) -> None:
        self.close()

    def is_reading(self) -> bool:
        return self._is_reading

    def pause_reading(self) -> None:
        self._is_reading = False

    def resume_reading(self) -> None:
        self._is_reading = self._is_open

    def get_write_buffer_size(self) -> int:
        return 0


class Application:
    """Application with the first checks of production; *heard* are the requests that passed them whole."""

    def __init__(self) -> None:
        self.heard: list[Request] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, fields = 200, []
        try:
            check_request(scope)
        except Refusal as refusal:
            status, fields = refusal.status, list(refusal.headers)
        else:
            body = b""
            more = True
            while more:
                message: Message = await receive()
                if message["type"] == "http.disconnect":
                    return
                body, more = body + message["body"], message["more_body"]
            query = scope["query_string"]
            target = scope["raw_path"] + (b"?" + query if query else b"")
            self.heard.append(Request(scope["method"].encode(), target, _plain(scope["headers"]), body))
        await send({"type": "http.response.start", "status": status, "headers": [*fields, (b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


def _plain(fields: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Returns *fields* as h11 gives them.

    llhttp leaves white space after a value, and the case of a coding.
    """
    return [(n, v.rstrip(b" \t").lower() if n == b"transfer-encoding" else v.rstrip(b" \t")) for n, v in fields]


class Tasks(set["asyncio.Task[None]"]):
    """Tasks of a server, and all that were ever among them."""

    def __init__(self) -> None:
        super().__init__()
        self.ever: list[asyncio.Task[None]] = []

    def add(self, task: asyncio.Task[None]) -> None:
        self.ever.append(task)
        super().add(task)


@cache
def _loop() -> tuple[asyncio.AbstractEventLoop, SharedState]:
    return asyncio.new_event_loop(), SharedState()


async def _serve(segments: Iterable[bytes], shared: SharedState) -> tuple[list[Request], list[int]]:
    """Returns the requests that the application heard of *segments*, and the statuses of all answers."""
    application, transport, state = Application(), FakeTransport(), ServerState()
    state.tasks = tasks = Tasks()
    config = cast(uvicorn.Config, SimpleNamespace(loaded_app=application, root_path=""))
    connection = HttpConnection(config, state, {}, shared=shared)
    connection.connection_made(transport)
    for segment in segments:
        if not transport.is_reading():
            break
        connection.data_received(segment)
        for _ in range(TICKS if tasks else 0):  # a turn costs as much as all the rest
            await asyncio.sleep(0)
    connection.connection_lost(None)
    for _ in range(TICKS):
        await asyncio.sleep(0)
    assert not tasks, "a request has not ended"
    for task in tasks.ever:
        task.result()
    answers = [reply.status for reply in replies(bytes(transport.written))]
    return application.heard, [status for status in answers if status != 100]


def check(data: bytes) -> None:
    """Checks *data*: its first byte is the size of the reads, the rest is what a client sends."""
    if len(data) < 2:
        return
    loop, shared = _loop()
    stream = data[1:]
    size = max(1 + data[0], len(stream) // MOST_READS)
    whole, answers = loop.run_until_complete(_serve([stream], shared))
    split, split_answers = loop.run_until_complete(
        _serve([stream[at : at + size] for at in range(0, len(stream), size)], shared)
    )
    assert set(answers + split_answers) <= REFUSALS | {200}, (answers, split_answers)
    assert len(answers) <= len(whole) + 1, "two refusals"
    assert len(whole) <= 1, "a pipelined request was heard"
    # Reads that come one after another may hold several requests: each is answered before the next has come.
    assert whole == split[:1], (whole, split)
    if _ZEROS.search(stream) is None:
        for heard, expected in zip(split, _requests(stream, len(split)), strict=True):
            assert heard == expected
    _check_refused_at_once(stream, len(whole), answers)


def _requests(stream: bytes, count: int) -> Iterable[Request]:
    """Yields the first *count* requests in *stream* as h11 reads them."""
    for _ in range(count):
        oracle = _oracle(stream)
        head = oracle.next_event()
        assert isinstance(head, h11.Request)
        body = b""
        while isinstance(event := oracle.next_event(), h11.Data):
            body += event.data
        assert isinstance(event, h11.EndOfMessage), event
        yield Request(head.method, head.target, list(head.headers), body)
        stream = oracle.trailing_data[0]


def _oracle(stream: bytes) -> h11.Connection:
    oracle = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    oracle.receive_data(_REQUEST_LINE.sub(rb"\1 \2 \3", stream.lstrip(b"\r\n")))
    return oracle


def _check_refused_at_once(stream: bytes, heard: int, answers: list[int]) -> None:
    """Checks the way of an overloaded process, which answers a whole request without a parser.

    What is answered so must be one request with nothing after it, or one that the parser refuses.
    """
    limit = LoadLimit(floor=-math.inf)
    limit.most = limit.begins_at = -math.inf
    overload = Overload(limit, open_streams=int, waiting=int, ranking=CallRanks(frozenset(), b"/webhooks/"))
    if overload.refusal(stream, 1) is None:
        return
    assert len(answers) == 1, "an answer to a part of a request"
    if heard:
        oracle = _oracle(stream)
        while not isinstance(oracle.next_event(), h11.EndOfMessage):
            pass
        assert oracle.trailing_data[0] == b"", "an answer to more than one request"


def seeds() -> Iterable[bytes]:
    """Yields the hostile requests, and honest ones."""
    for row in HOSTILE:
        yield b"\xff" + b"".join(row.segments)[:2000]
    for line in (b"GET /api/fal/usage HTTP/1.1", b"HEAD / HTTP/1.1", b"OPTIONS /a?b=c HTTP/1.1", b"GET / HTTP/1.0"):
        yield b"\x10" + request(line=line)
    for size in (0, 1, 7, 255):
        yield bytes([size]) + request(b"Content-Length: 3", body=b"abc")
        yield bytes([size]) + request(b"Transfer-Encoding: chunked", body=b"3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n")
        yield bytes([size]) + request(b"Content-Length: 3", body=b"abc") * 3
        yield bytes([size]) + request(b"Expect: 100-continue", b"Content-Length: 3", body=b"abc")
        yield bytes([size]) + b"\r\n" + request(b"Authorization: Bearer x", line=b"GET /a/requests/b HTTP/1.1")


TARGET = Target(
    "request_parser",
    check,
    seeds,
    words=(
        *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b":", b"HTTP/1.1", b"HTTP/1.0", b"GET ", b"POST ", b"PUT "),
        *(b"Host: a\r\n", b"Content-Length: ", b"Transfer-Encoding: ", b"chunked", b"Connection: ", b"close"),
        *(b"keep-alive", b"Upgrade: ", b"Expect: 100-continue\r\n", b"0\r\n\r\n", b"3\r\nabc\r\n", b"Cookie: a\r\n"),
        *(b"Authorization: Bearer a\r\n", b"x-fal-target-url: https://queue.fal.run/a/b\r\n", b"/requests/a/status"),
    ),
)

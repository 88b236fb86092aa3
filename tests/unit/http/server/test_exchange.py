from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest
from starlette.types import Message
from support.http_server import Wire
from support.raw_http import PATIENCE

from proxy.http.server.exchange import Exchange
from proxy.http.server.flow_control import HIGH_WATER, FlowControl
from proxy.http.server.limits import ConnectionLimits
from proxy.http.server.state import SharedState

DATE = b"date: today\r\n"
OK = b"HTTP/1.1 200 OK\r\n" + DATE
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
GONE = {"type": "http.disconnect"}
SIZED = (b"content-length", b"3")


class Rig:
    """An exchange, and what its connection hears of it."""

    def __init__(
        self,
        method: str = "GET",
        *,
        keep_alive: bool = True,
        expects: bool = False,
        version: str = "1.1",
        on_complete: Callable[[Exchange], None] | None = None,
    ) -> None:
        self.wire = Wire()
        self.flow_control = FlowControl(cast(asyncio.Transport, self.wire))
        self.completed: list[Exchange] = []
        self.exchange = Exchange(
            self.flow_control,
            SharedState(ConnectionLimits(), [], default_headers=DATE),
            method,
            version,
            on_complete or self.completed.append,
        )
        self.exchange.keep_alive, self.exchange.expects = keep_alive, expects

    @property
    def written(self) -> bytes:
        return b"".join(self.wire.writes)

    async def send(self, *messages: Message) -> None:
        for message in messages:
            await self.exchange.send(message)


def start(*fields: tuple[bytes, bytes], status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(fields)}


def body(content: bytes = b"", *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": more}


def part(content: bytes, *, more: bool) -> Message:
    return {"type": "http.request", "body": content, "more_body": more}


@asynccontextmanager
async def waiting(rig: Rig) -> AsyncIterator[asyncio.Task[Message]]:
    """One who receives, and has to wait for it."""
    task = asyncio.create_task(rig.exchange.receive())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not task.done()
    yield task
    async with asyncio.timeout(PATIENCE):
        await task


# What comes before each time that the application receives (None: the end of the request), and what it gets.
RECEIVED: dict[str, list[tuple[list[bytes | None], Message]]] = {
    "no-body": [([None], part(b"", more=False))],
    "whole": [([b"ab", None], part(b"ab", more=False))],
    "whole-of-many": [([b"a", b"b", b"c", None], part(b"abc", more=False))],
    "in-parts": [
        ([b"a"], part(b"a", more=True)),
        ([b"b", b"c"], part(b"bc", more=True)),
        ([b"d", None], part(b"d", more=False)),
    ],
    "end-by-itself": [([b"a"], part(b"a", more=True)), ([None], part(b"", more=False))],
}


@pytest.mark.parametrize("name", RECEIVED)
async def test_a_body_is_received_as_it_came(name: str) -> None:
    """All that is there at once, every byte one time, and the end with the last of it."""
    rig = Rig()
    for events, message in RECEIVED[name]:
        for content in events:
            rig.exchange.on_request_complete() if content is None else rig.exchange.on_body(content)
        async with asyncio.timeout(PATIENCE):
            assert await rig.exchange.receive() == message


# Content that was received before, an event, and the message that a waiting reader gets by it.
NEWS: dict[str, tuple[list[bytes | None], Callable[[Rig], object], Message]] = {
    "content": ([], lambda rig: rig.exchange.on_body(b"a"), part(b"a", more=True)),
    "more-content": ([b"a"], lambda rig: rig.exchange.on_body(b"b"), part(b"b", more=True)),
    "end": ([], lambda rig: rig.exchange.on_request_complete(), part(b"", more=False)),
    "client-leaves": ([b"a"], lambda rig: rig.exchange.on_disconnect(), GONE),
    "client-leaves-after-the-body": ([b"a", None], lambda rig: rig.exchange.on_disconnect(), GONE),
    "whole-answer": ([b"a", None], lambda rig: rig.exchange.answer(200, b"", b""), GONE),
    "whole-answer-to-a-part": ([b"a"], lambda rig: rig.exchange.answer(200, b"", b""), GONE),
}


@pytest.mark.parametrize("name", NEWS)
async def test_who_receives_waits_for_news(name: str) -> None:
    """Not for ever, and for nothing else; there is one news of the end."""
    before, happens, message = NEWS[name]
    rig = Rig()
    for content in before:
        rig.exchange.on_request_complete() if content is None else rig.exchange.on_body(content)
    if before:
        await rig.exchange.receive()
    async with waiting(rig) as receiving:
        happens(rig)

    assert receiving.result() == message


async def test_the_last_message_of_an_answer_is_news() -> None:
    """A part of it is not."""
    rig = Rig()
    async with waiting(rig) as receiving:
        await rig.send(start(), body(b"a", more=True))
        await asyncio.sleep(0)
        assert not receiving.done()
        await rig.send(body(b"b"))

    assert receiving.result() == GONE


@pytest.mark.parametrize("leaves", [True, False], ids=["client-left", "answered"])
async def test_after_the_end_there_is_only_the_end(leaves: bool) -> None:
    """However often one asks, and whatever had come before."""
    rig = Rig()
    rig.exchange.on_body(b"a")
    rig.exchange.on_request_complete()
    if leaves:
        rig.exchange.on_disconnect()
    else:
        await rig.send(start(), body())

    async with asyncio.timeout(PATIENCE):
        assert [await rig.exchange.receive() for _ in range(3)] == [GONE] * 3


async def test_one_who_gave_up_waiting_is_no_harm() -> None:
    """The next who receives gets what came meanwhile."""
    rig = Rig()
    receiving = asyncio.create_task(rig.exchange.receive())
    await asyncio.sleep(0)
    receiving.cancel()
    rig.exchange.on_body(b"a")
    await asyncio.wait([receiving])

    assert receiving.cancelled()
    assert await rig.exchange.receive() == part(b"a", more=True)


async def test_a_body_that_nobody_receives_is_held_back() -> None:
    """Above the high-water mark the connection is not read, until the application has taken all of it."""
    rig = Rig()
    events = rig.wire.calls
    for _ in range(2):
        rig.exchange.on_body(b"a" * (HIGH_WATER - 1))
        rig.exchange.on_body(b"a")
        assert events == []
        rig.exchange.on_body(b"a")
        rig.exchange.on_body(b"a")
        assert events == ["pause"]
        assert len((await rig.exchange.receive())["body"]) == HIGH_WATER + 2
        assert events == ["pause", "resume"]
        events.clear()


# (True where the client expects it, the events, the number of 100 responses)
EXPECTED: dict[str, tuple[bool, list[str], int]] = {
    "asked": (True, ["receive"], 1),
    "once": (True, ["receive", "receive"], 1),
    "not-asked": (False, ["receive", "receive"], 0),
    "not-wanted": (True, [], 0),
    "client-left": (True, ["leave", "receive"], 0),
    "answer-begun": (True, ["start", "receive"], 0),
    "whole-answer": (True, ["answer", "receive"], 0),
}


@pytest.mark.parametrize("name", EXPECTED)
async def test_a_client_that_asks_is_told_to_go_on(name: str) -> None:
    """RFC 9110 section 10.1.1: when its body is wanted, and not behind the answer."""
    asked, steps, times = EXPECTED[name]
    rig = Rig("POST", expects=asked)
    for step in steps:
        match step:
            case "receive":
                rig.exchange.on_body(b"a")
                await rig.exchange.receive()
            case "start":
                await rig.send(start())
            case "answer":
                rig.exchange.answer(200, b"", b"")
            case "leave":
                rig.exchange.on_disconnect()

    assert rig.wire.writes.count(CONTINUE) == rig.written.count(b"100 Continue") == times


async def test_a_client_is_told_to_go_on_before_its_body_is_waited_for() -> None:
    """A 100 is sent before the body is waited for: otherwise both sides would wait."""
    rig = Rig("POST", expects=True)
    async with waiting(rig):
        assert rig.written == CONTINUE
        rig.exchange.on_body(b"a")


# (method, messages, all that is written)
FRAMED: dict[str, tuple[str, list[Message], bytes]] = {
    "length": ("GET", [start(SIZED), body(b"abc")], OK + b"content-length: 3\r\n\r\nabc"),
    "length-in-any-case": (
        "GET",
        [start((b"Content-Length", b"3")), body(b"abc")],
        OK + b"Content-Length: 3\r\n\r\nabc",
    ),
    "length-in-parts": (
        "POST",
        [start(SIZED), body(b"a", more=True), body(b"", more=True), body(b"bc", more=True), body()],
        OK + b"content-length: 3\r\n\r\nabc",
    ),
    "no-content": ("GET", [start((b"content-length", b"0")), body()], OK + b"content-length: 0\r\n\r\n"),
    "chunked": (
        "GET",
        [start(), body(b"a", more=True), body(b"", more=True), body(b"b" * 17)],
        OK + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n11\r\n" + b"b" * 17 + b"\r\n0\r\n\r\n",
    ),
    "chunked-end-by-itself": (
        "GET",
        [start(), body(b"a", more=True), body()],
        OK + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    ),
    "chunked-no-content": ("GET", [start(), body()], OK + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    "least-messages": (
        "GET",
        [{"type": "http.response.start", "status": 200}, {"type": "http.response.body"}],
        OK + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "head": ("HEAD", [start(SIZED), body(b"abc")], OK + b"content-length: 3\r\n\r\n"),
    "head-without-its-content": ("HEAD", [start(SIZED), body()], OK + b"content-length: 3\r\n\r\n"),
    "head-without-length": ("HEAD", [start(), body(b"a", more=True), body(b"b")], OK + b"\r\n"),
    "204": ("GET", [start(status=204), body()], b"HTTP/1.1 204 No Content\r\n" + DATE + b"\r\n"),
    "304": (
        "GET",
        [start(SIZED, status=304), body(b"abc")],
        b"HTTP/1.1 304 Not Modified\r\n" + DATE + b"content-length: 3\r\n\r\n",
    ),
    "status-without-phrase": (
        "GET",
        [start((b"content-length", b"0"), status=599), body()],
        b"HTTP/1.1 599 \r\n" + DATE + b"content-length: 0\r\n\r\n",
    ),
    "odd-fields": (
        "GET",
        [start((b"!#$%&'*+.^_`|~-9", b""), (b"x", b"\t ~\x80\xff"), (b"x", b":"), SIZED), body(b"abc")],
        OK + b"!#$%&'*+.^_`|~-9: \r\nx: \t ~\x80\xff\r\nx: :\r\ncontent-length: 3\r\n\r\nabc",
    ),
}


@pytest.mark.parametrize("name", FRAMED)
async def test_an_answer_is_framed(name: str) -> None:
    """By its length, or by chunks, or without content where there cannot be any (RFC 9112 section 6.3)."""
    method, messages, written = FRAMED[name]
    rig = Rig(method)
    await rig.send(*messages)

    assert rig.written == written
    assert rig.completed == [rig.exchange]
    assert rig.exchange.keep_alive


CLOSE_LINE = b"connection: close\r\n"

# (whether the connection could be kept, fields of the application, those of the answer, whether it is kept after it)
KEPT: dict[str, tuple[bool, list[tuple[bytes, bytes]], bytes, bool]] = {
    "kept": (True, [], b"", True),
    "not-kept": (False, [], CLOSE_LINE, False),
    "application-closes": (True, [(b"connection", b"close")], CLOSE_LINE, False),
    "both": (False, [(b"connection", b"close")], CLOSE_LINE, False),
    "in-any-case": (True, [(b"Connection", b"Close")], b"Connection: Close\r\n", False),
    "says-something-else": (True, [(b"connection", b"x-hop")], b"connection: x-hop\r\n", True),
}


@pytest.mark.parametrize("name", KEPT)
async def test_the_last_answer_of_a_connection_says_so_once(name: str) -> None:
    """The last response closes the connection, by the client's or the server's decision."""
    before, fields, lines, after = KEPT[name]
    rig = Rig(keep_alive=before)
    await rig.send(start((b"content-length", b"0"), *fields), body())

    assert rig.written.partition(b"content-length: 0\r\n")[2] == lines + b"\r\n"
    assert rig.exchange.keep_alive is after


async def test_keeping_may_be_taken_back_until_the_answer_begins() -> None:
    """As when the listener is drained meanwhile."""
    rig = Rig()
    rig.exchange.keep_alive = False
    await rig.send(start(SIZED), body(b"abc"))

    assert CLOSE_LINE in rig.written


# Messages, None being a turn of the loop, and the writes they come to.
HEAD_LINES = OK + b"content-length: 3\r\n\r\n"
WRITES: dict[str, tuple[list[Message | None], list[bytes]]] = {
    "head-and-content": ([start(SIZED), body(b"abc"), None], [HEAD_LINES + b"abc"]),
    "head-alone": ([start(SIZED), None], [HEAD_LINES]),
    "content-later": ([start(SIZED), None, body(b"abc"), None], [HEAD_LINES, b"abc"]),
    "content-in-parts": ([start(SIZED), body(b"a", more=True), body(b"bc"), None], [HEAD_LINES + b"a", b"bc"]),
    "head-and-nothing": ([start(SIZED), body(more=True), body(b"abc"), None], [HEAD_LINES, b"abc"]),
    "end-by-itself": ([start(SIZED), body(b"abc", more=True), body(), None], [HEAD_LINES + b"abc"]),
}


@pytest.mark.parametrize("name", WRITES)
async def test_a_head_takes_the_first_content_along(name: str) -> None:
    """Pieces that come together go in one write, others at the loop's next turn; nothing in vain."""
    messages, writes = WRITES[name]
    rig = Rig()
    for message in messages:
        await (rig.send(message) if message is not None else asyncio.sleep(0))

    assert rig.wire.writes == writes


async def test_a_flush_leaves_nothing_for_later() -> None:
    """As before a close; a second one has nothing to write."""
    rig = Rig()
    rig.exchange.flush()
    await rig.send(start(SIZED))
    assert rig.wire.writes == []
    rig.exchange.flush()
    rig.exchange.flush()
    await asyncio.sleep(0)

    assert rig.wire.writes == [HEAD_LINES]


# Messages of which the last breaks what the Content-Length of 3 promised, and what is written before it.
WRONG_LENGTHS: dict[str, tuple[list[Message], bytes]] = {
    "too-long": ([body(b"abcd")], b""),
    "too-long-with-more": ([body(b"abcd", more=True)], b""),
    "too-long-in-parts": ([body(b"abc", more=True), body(b"d")], HEAD_LINES + b"abc"),
    "too-short": ([body(b"ab")], b""),
    "too-short-in-parts": ([body(b"ab", more=True), body()], HEAD_LINES + b"ab"),
    "nothing": ([body()], b""),
}


@pytest.mark.parametrize("name", WRONG_LENGTHS)
async def test_content_of_another_length_is_a_fault(name: str) -> None:
    """Nothing of the message is written, so it is no beginning of a next answer; nor is it the end."""
    (*before, last), written = WRONG_LENGTHS[name]
    rig = Rig()
    await rig.send(start(SIZED), *before)
    with pytest.raises(RuntimeError, match="Content-Length"):
        await rig.send(last)

    assert rig.written == written
    assert rig.completed == []
    assert not rig.exchange.complete


@pytest.mark.parametrize(
    "field",
    [
        (b"x", b"y\r\nset-cookie: z"),
        (b"x", b"y\r\n\r\nz"),
        (b"x", b"y\nz: z"),
        (b"x", b"y\rz"),
        (b"x", b"\x00"),
        (b"x", b"\x7f"),
        (b"x: y\r\nz", b"z"),
        (b"x y", b"z"),
        (b"x:", b"z"),
        (b"", b"z"),
        (b"x\xe9", b"z"),
    ],
    ids=repr,
)
async def test_a_field_that_would_break_the_head_is_a_fault(field: tuple[bytes, bytes]) -> None:
    """Nothing is written or begun: another answer can take its place."""
    rig = Rig(expects=True)
    with pytest.raises(RuntimeError, match="field"):
        await rig.send(start(SIZED, field))
    await asyncio.sleep(0)
    assert (rig.wire.writes, rig.exchange.started) == ([], False)
    await rig.send(start(SIZED), body(b"abc"))

    assert rig.written == HEAD_LINES + b"abc"


OUT_OF_ORDER: dict[str, list[Message]] = {
    "content-first": [body()],
    "two-heads": [start(), start()],
    "content-after-the-end": [start(), body(), body()],
    "head-after-the-end": [start(), body(), start()],
    "interim": [{"type": "http.response.debug"}],
    "trailers": [start(), body(b"a", more=True), {"type": "http.response.trailers"}],
}


@pytest.mark.parametrize("name", OUT_OF_ORDER)
async def test_a_message_out_of_order_is_a_fault(name: str) -> None:
    """A message out of order is an error with its name, and changes nothing of the response."""
    *before, last = OUT_OF_ORDER[name]
    rig = Rig()
    await rig.send(*before)
    written, complete = rig.written, rig.exchange.complete
    with pytest.raises(RuntimeError, match=last["type"]):
        await rig.send(last)

    assert (rig.written, rig.exchange.complete) == (written, complete)
    assert len(rig.completed) == complete


@pytest.mark.parametrize("begun", [False, True], ids=["head", "content"])
async def test_a_slow_client_is_waited_for(begun: bool) -> None:
    """Nothing is added to what it has not taken yet."""
    rig = Rig()
    first, then = ([start(SIZED)], body(b"abc")) if begun else ([], start(SIZED))
    await rig.send(*first)
    rig.exchange.flush()
    written = rig.written
    rig.flow_control.pause_writing()
    sending = asyncio.create_task(rig.send(then))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (sending.done(), rig.written) == (False, written)
    rig.flow_control.resume_writing()
    async with asyncio.timeout(PATIENCE):
        await sending
    rig.exchange.flush()

    assert rig.written == HEAD_LINES + (b"abc" if begun else b"")


async def test_a_client_that_left_while_it_was_waited_for_is_sent_nothing() -> None:
    """The one who sends goes on as if it were."""
    rig = Rig()
    rig.flow_control.pause_writing()
    sending = asyncio.create_task(rig.send(start(SIZED), body(b"abc")))
    await asyncio.sleep(0)
    rig.flow_control.resume_writing()
    rig.exchange.on_disconnect()
    async with asyncio.timeout(PATIENCE):
        await sending

    assert rig.written == b""
    assert not rig.exchange.started


@pytest.mark.parametrize("congested", [False, True])
async def test_nothing_is_sent_to_a_client_that_left(congested: bool) -> None:
    """After a disconnect nothing is sent, waited for, or out of order."""
    rig = Rig()
    await rig.send(start(), body(b"a", more=True))
    written = rig.written
    rig.exchange.on_disconnect()
    if congested:
        rig.flow_control.pause_writing()
    async with asyncio.timeout(PATIENCE):
        await rig.send(body(b"b"), body(b"c"), start())

    assert rig.written == written
    assert (rig.exchange.complete, rig.completed) == (False, [])


@pytest.mark.parametrize("content", [b"", b"ab"], ids=["head-waits", "head-sent"])
async def test_nothing_is_sent_after_a_cut(content: bytes) -> None:
    """Sent content goes out, the head too; then the connection is closed as after a disconnect."""
    rig = Rig()
    rig.exchange.on_leave = lambda: pytest.fail("the client did not leave")
    await rig.send(start(SIZED), *([body(content, more=True)] if content else []))
    rig.exchange.abort()
    assert (rig.wire.calls, rig.written) == (["close"], HEAD_LINES + content)
    await rig.send(body(b"c"))
    await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE):
        assert await rig.exchange.receive() == GONE

    assert rig.written == HEAD_LINES + content
    assert (rig.exchange.gone, rig.exchange.complete, rig.completed) == (True, False, [])


# (method, whether the connection is kept, what is written of an answer with the field x and the content abc)
WHOLE: dict[str, tuple[str, bool, bytes]] = {
    "kept": ("GET", True, OK + b"x: y\r\n\r\nabc"),
    "not-kept": ("POST", False, OK + b"x: y\r\nconnection: close\r\n\r\nabc"),
    "head": ("HEAD", True, OK + b"x: y\r\n\r\n"),
    "head-not-kept": ("HEAD", False, OK + b"x: y\r\nconnection: close\r\n\r\n"),
}


@pytest.mark.parametrize("name", WHOLE)
async def test_a_whole_answer_is_one_write(name: str) -> None:
    """Head and content, and the exchange is complete; nothing comes after it."""
    method, keep_alive, written = WHOLE[name]
    rig = Rig(method, keep_alive=keep_alive)
    assert rig.exchange.answer(200, b"x: y\r\n", b"abc")
    assert (rig.exchange.started, rig.exchange.complete, rig.completed) == (True, True, [rig.exchange])
    with pytest.raises(RuntimeError):
        await rig.send(body(b"more"))
    await asyncio.sleep(0)

    assert rig.wire.writes == [written]


async def test_a_large_answer_is_not_copied() -> None:
    """The head goes first, and the content as it is."""
    content = b"a" * (HIGH_WATER + 1)
    rig = Rig()

    assert rig.exchange.answer(200, b"x: y\r\n", content)
    assert rig.wire.writes[1] is content
    assert rig.written == OK + b"x: y\r\n\r\n" + content
    assert rig.exchange.complete


async def test_a_whole_answer_has_its_own_status() -> None:
    """With its phrase."""
    rig = Rig()
    rig.exchange.answer(404, b"", b"")

    assert rig.written == b"HTTP/1.1 404 Not Found\r\n" + DATE + b"\r\n"


@pytest.mark.parametrize("how", ["congested", "started", "answered"])
async def test_some_answers_have_to_go_the_longer_way(how: str) -> None:
    """For a slow client, or beside an answer under way, it returns False, and nothing is done."""
    rig = Rig()
    match how:
        case "congested":
            rig.flow_control.pause_writing()
        case "started":
            await rig.send(start())
        case "answered":
            rig.exchange.answer(200, b"", b"")
    state = (rig.exchange.started, rig.exchange.complete, list(rig.completed), list(rig.wire.writes))
    assert not rig.exchange.answer(200, b"", b"abc")

    assert state == (rig.exchange.started, rig.exchange.complete, rig.completed, rig.wire.writes)


async def test_a_whole_answer_for_a_slow_client_may_follow_its_relief() -> None:
    """A refused event may be sent again later."""
    rig = Rig()
    rig.flow_control.pause_writing()
    rig.exchange.answer(200, b"", b"abc")
    rig.flow_control.resume_writing()

    assert rig.exchange.answer(200, b"", b"abc")
    assert rig.written == OK + b"\r\nabc"


@pytest.mark.parametrize("congested", [False, True])
async def test_a_whole_answer_to_nobody_is_over(congested: bool) -> None:
    """There is no longer way to try."""
    rig = Rig()
    rig.exchange.on_disconnect()
    if congested:
        rig.flow_control.pause_writing()

    assert rig.exchange.answer(200, b"", b"abc")
    assert (rig.wire.writes, rig.exchange.complete, rig.completed) == ([], False, [])


async def test_an_exchange_that_is_remembered_keeps_no_connection() -> None:
    """An exchange reports its completion once, and drops its connection."""

    class Connection:
        def answered(self, exchange: Exchange) -> None:
            answered.append(exchange)

    answered: list[Exchange] = []
    connection = Connection()
    exchange = Rig(on_complete=connection.answered).exchange
    reference = weakref.ref(connection)
    del connection
    gc.collect()
    assert reference() is not None
    exchange.answer(200, b"", b"")
    gc.collect()

    assert answered == [exchange]
    assert reference() is None


async def test_what_is_complete_is_seen_complete() -> None:
    """At the report of completion the content is written and the state is final."""
    seen: list[tuple[bool, bytes]] = []
    rig = Rig(on_complete=lambda exchange: seen.append((exchange.complete, rig.written)))
    await rig.send(start(SIZED), body(b"abc", more=True))
    assert seen == []
    await rig.send(body())

    assert seen == [(True, HEAD_LINES + b"abc")]


async def test_a_client_leaves_once() -> None:
    """A callback that is set after a disconnect is called once."""
    rig = Rig()
    events: list[bool] = []
    rig.exchange.on_leave = lambda: events.append(rig.exchange.gone)
    rig.exchange.on_disconnect()
    rig.exchange.on_disconnect()

    assert events == [True]


async def test_nobody_need_be_told_that_a_client_left() -> None:
    """A disconnect without a callback is recorded all the same."""
    rig = Rig()
    assert not rig.exchange.gone
    rig.exchange.on_disconnect()

    assert rig.exchange.gone


async def test_an_answer_is_no_leave() -> None:
    """A callback for a disconnect is not called at the end of the response."""
    rig = Rig()
    rig.exchange.on_leave = lambda: pytest.fail("the client did not leave")
    await rig.send(start(), body())

    assert (rig.exchange.gone, rig.exchange.complete) == (False, True)


@pytest.mark.parametrize(
    ("version", "sent"),
    [("1.1", b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"), ("1.0", b"connection: close\r\n\r\na")],
)
async def test_chunks_are_for_those_who_know_them(version: str, sent: bytes) -> None:
    """RFC 9112 section 6.1: an answer without a length to an HTTP/1.0 client ends with the connection."""
    rig = Rig(version=version, keep_alive=version == "1.1")
    await rig.exchange.send({"type": "http.response.start", "status": 200, "headers": []})
    await rig.exchange.send({"type": "http.response.body", "body": b"a"})

    assert b"".join(rig.wire.writes).endswith(sent)


async def test_a_lost_connection_is_not_written_to() -> None:
    """A head that waited for its content goes nowhere."""
    rig = Rig()
    await rig.exchange.send({"type": "http.response.start", "status": 200, "headers": []})
    rig.exchange.on_connection_lost()
    await asyncio.sleep(0)

    assert rig.wire.writes == []

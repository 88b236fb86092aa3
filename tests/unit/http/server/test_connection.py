from __future__ import annotations

import asyncio
import dataclasses
import gc
import socket
import threading
import time
import tracemalloc
import weakref
from itertools import pairwise

import pytest
import uvloop
from starlette.types import Receive, Scope, Send
from support.hostile_http import HOSTILE, SMUGGLED, Hostile, request
from support.http_server import QUICK, Recorder, answer, listening, on_uvloop
from support.raw_http import PATIENCE, RawConnection, dial, exchange, replies

from proxy.errors import CLOSE
from proxy.http.server.connection import HttpConnection
from proxy.http.server.exchange import EXCHANGE
from proxy.http.server.limits import ConnectionLimits

PATIENT = dataclasses.replace(QUICK, head_time=PATIENCE, body_time=PATIENCE)
GET = request(line=b"GET /hostile HTTP/1.1")


@pytest.fixture(scope="module")
def seen() -> dict[str, tuple[list[int], list[bytes]]]:
    """Statuses of the answers to each hostile request, and the paths that its application got.

    Several at a time, each on a server of its own: the stop of one takes 0.1 s.
    """
    several = asyncio.Semaphore(8)

    async def send(row: Hostile) -> tuple[list[int], list[bytes]]:
        recorder = Recorder()
        async with several, listening(recorder) as listener:
            answers = await exchange(listener.address, row.segments, endless=row.endless)
        return [reply.status for reply in answers], [path for path, _ in recorder.heard]

    async def send_all() -> list[tuple[list[int], list[bytes]]]:
        return await asyncio.gather(*map(send, HOSTILE))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return dict(zip([row.id for row in HOSTILE], runner.run(send_all()), strict=True))


@pytest.mark.parametrize("row", HOSTILE, ids=lambda row: row.id)
def test_a_hostile_request_ends_its_connection(row: Hostile, seen: dict[str, tuple[list[int], list[bytes]]]) -> None:
    """One answer of the right status, then the end; nothing is heard that must not be."""
    assert seen[row.id] == ([row.status], [b"/hostile"] * row.heard)


@pytest.mark.parametrize("before", [b"GET / HTTP/1.1\r\n", request(b"Transfer-Encoding: chunked", body=b"0\r\n")])
@on_uvloop
async def test_an_excess_is_refused_before_it_has_become_objects(before: bytes) -> None:
    """A field of six bytes takes two hundred as a pair of strings; 256 KiB of them may come in one read."""
    flood = before + b"X: y\r\n" * 43_000
    async with listening(Recorder()) as listener:
        tracemalloc.start()
        try:
            await exchange(listener.address, [flood])
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert peak < 2**20


HONEST = {
    "get": (GET, b""),
    "blank-line-before": (b"\r\n" + GET, b""),
    "100-fields": (request(*[b"X: y"] * 99), b""),
    "head-of-31k": (request(*[b"X: " + b"y" * 990] * 31), b""),
    "target-of-8k": (request(line=b"GET /hostile?" + b"a" * 8100 + b" HTTP/1.1"), b""),
    "percent-and-query": (request(line=b"GET /hostile?a=%23b HTTP/1.1"), b""),
    "host-with-port": (request(host=b"Host: example.com:8080"), b""),
    "host-ipv6": (request(host=b"Host: [2001:db8::1]:443"), b""),
    "large-head-and-chunks": (
        request(b"Transfer-Encoding: chunked", *[b"X: " + b"y" * 990] * 30, body=b"3\r\nabc\r\n0\r\n\r\n"),
        b"abc",
    ),
    "odd-case": (request(b"tRANSFER-eNCODING: CHUNKED", body=b"3\r\nabc\r\n0\r\n\r\n"), b"abc"),
    "chunk-extension": (request(b"Transfer-Encoding: chunked", body=b'3;a="b"\r\nabc\r\n0\r\n\r\n'), b"abc"),
    "trailer": (request(b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\nX: y\r\n\r\n"), b"abc"),
    "tiny-chunks": (request(b"Transfer-Encoding: chunked", body=b"1\r\na\r\n" * 9000 + b"0\r\n\r\n"), b"a" * 9000),
    "megabyte": (request(b"Content-Length: 1000000", body=b"a" * 1_000_000), b"a" * 1_000_000),
}


@pytest.mark.parametrize("name", HONEST)
@on_uvloop
async def test_an_honest_request_is_heard_and_so_is_the_next(name: str) -> None:
    """The limits are not in the way, and the connection is kept."""
    raw, content = HONEST[name]
    recorder = Recorder()
    async with listening(recorder, PATIENT) as listener, dial(listener.address) as connection:
        for _ in range(2):
            await connection.send(raw)
            assert (await connection.reply()).body == b"heard"

    assert recorder.heard == [(b"/hostile", content)] * 2


@on_uvloop
async def test_a_body_in_many_segments_is_one_body() -> None:
    """Limits count the whole request, however it is cut."""
    recorder = Recorder()
    raw = request(b"Transfer-Encoding: chunked", body=b"10\r\n0123456789abcdef\r\n0\r\nX: y\r\n\r\n")
    async with listening(recorder, PATIENT) as listener, dial(listener.address) as connection:
        await connection.send(*[raw[at : at + 20] for at in range(0, len(raw), 20)])
        await connection.reply()

    assert recorder.heard == [(b"/hostile", b"0123456789abcdef")]


@on_uvloop
async def test_trailers_are_not_header_fields() -> None:
    """RFC 9110 section 6.5.1: what was checked with the head cannot be changed after it."""
    recorder = Recorder()
    raw = request(b"Transfer-Encoding: chunked", body=b"0\r\nx-fal-target-url: https://evil.test\r\n\r\n")
    async with listening(recorder) as listener, dial(listener.address) as connection:
        await connection.send(raw)
        await connection.reply()

    assert recorder.scopes[0]["headers"] == [(b"host", b"a"), (b"transfer-encoding", b"chunked")]


@on_uvloop
async def test_expect_is_answered_when_the_body_is_wanted() -> None:
    """RFC 9110 section 10.1.1: 100 before the body is read; the connection is not kept, whatever follows."""
    recorder = Recorder()
    async with listening(recorder) as listener, dial(listener.address) as connection:
        await connection.send(request(b"Expect: 100-continue", b"Content-Length: 3"))
        interim = await connection.reply()
        await connection.send(b"abc")
        final = await connection.reply()

    assert (interim.status, final.status, final.headers[b"connection"]) == (100, 200, b"close")
    assert recorder.heard == [(b"/hostile", b"abc")]


@on_uvloop
async def test_http_1_0_gets_no_100() -> None:
    """RFC 9110 section 10.1.1: such a client would take it for the answer."""
    raw = request(
        b"Expect: 100-continue", b"Content-Length: 3", line=b"POST /hostile HTTP/1.0", host=b"Host: a", body=b"abc"
    )
    async with listening(Recorder()) as listener:
        answers = await exchange(listener.address, [raw])

    assert [reply.status for reply in answers] == [200]


# Deadlines.


async def trickle(connection: RawConnection, raw: bytes) -> None:
    """A byte at a time, for as long as the other side takes them."""
    for at in range(len(raw)):
        await connection.send(raw[at : at + 1])
        await asyncio.sleep(0.01)


@pytest.mark.serial
@pytest.mark.parametrize(
    "beginning", [b"", request(b"Content-Length: 9999"), request(b"Transfer-Encoding: chunked", body=b"ffff\r\n")]
)
@on_uvloop
async def test_a_deadline_is_not_put_off_by_a_byte(beginning: bytes) -> None:
    """Head and body must be whole in time: 408, though the last byte came just now."""
    recorder = Recorder()
    slow = b"GET /" + b"a" * 9999 if not beginning else b"a" * 9999
    async with listening(recorder) as listener, dial(listener.address) as connection:
        await connection.send(beginning)
        trickling = asyncio.create_task(trickle(connection, slow))
        began = time.monotonic()
        answers = replies(await connection.until_closed())
        trickling.cancel()

    assert [reply.status for reply in answers] == [408]
    assert time.monotonic() - began < 1
    assert recorder.heard == []


@on_uvloop
async def test_a_body_must_come_at_the_least_rate() -> None:
    """Long before the deadline."""
    limits = dataclasses.replace(PATIENT, rate_grace=0.1, min_rate=100_000)
    recorder = Recorder()
    async with listening(recorder, limits) as listener, dial(listener.address) as connection:
        await connection.send(request(b"Content-Length: 9999"))
        trickling = asyncio.create_task(trickle(connection, b"a" * 9999))
        answers = replies(await connection.until_closed())
        trickling.cancel()

    assert [reply.status for reply in answers] == [408]
    assert (recorder.heard, recorder.cut) == ([], 1)


@on_uvloop
async def test_a_body_at_an_honest_rate_is_let_through() -> None:
    """The rate is of the whole, after its grace."""
    limits = dataclasses.replace(PATIENT, rate_grace=0.1, min_rate=100)
    recorder = Recorder()
    async with listening(recorder, limits) as listener, dial(listener.address) as connection:
        await connection.send(request(b"Content-Length: 200"))
        for _ in range(20):
            await connection.send(b"0123456789")
            await asyncio.sleep(0.015)
        assert (await connection.reply()).status == 200

    assert recorder.heard == [(b"/hostile", b"0123456789" * 20)]


@pytest.mark.parametrize("before", [b"", GET], ids=["first", "kept-alive"])
@on_uvloop
async def test_a_silent_connection_is_closed_without_a_word(before: bytes) -> None:
    """A browser's spare connection would take a 408 for the answer to its next request."""
    async with (
        listening(Recorder(), dataclasses.replace(QUICK, keep_alive=0.1)) as listener,
        dial(listener.address) as connection,
    ):
        if before:
            await connection.send(before)
            await connection.reply()

        assert await connection.until_closed() == b""


@on_uvloop
async def test_a_kept_connection_owes_its_next_head_in_time() -> None:
    """The idle time ends with the first byte."""
    async with listening(Recorder()) as listener, dial(listener.address) as connection:
        await connection.send(GET)
        await connection.reply()
        await connection.send(b"GET /hos")

        assert [reply.status for reply in replies(await connection.until_closed())] == [408]


@on_uvloop
async def test_an_answer_under_way_has_no_deadline_of_the_listener() -> None:
    """A request that was sent in time may be answered late, and blank lines after it change nothing."""

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await asyncio.sleep(2 * QUICK.head_time)
        await answer(send, b"late")

    async with listening(slow) as listener, dial(listener.address) as connection:
        await connection.send(GET, b"\r\n")
        assert (await connection.reply()).body == b"late"


# Answers that do not wait for the body.


async def early(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers 401 at once; closes where the path says so."""
    await answer(send, b"early", 401, *([CLOSE] if scope["raw_path"] == b"/close" else []))


@on_uvloop
async def test_a_small_unwanted_body_is_skipped() -> None:
    """A small unread body is not parsed as a request, and the connection stays open."""
    async with listening(early) as listener, dial(listener.address) as connection:
        for _ in range(2):
            await connection.send(request(b"Content-Length: %d" % len(SMUGGLED)))
            assert (await connection.reply()).status == 401
            await connection.send(SMUGGLED)

        await connection.send(GET + request(b"Connection: close"))
        assert [reply.status for reply in replies(await connection.until_closed())] == [401]


@on_uvloop
async def test_what_follows_an_unwanted_body_is_judged_by_itself() -> None:
    """In one segment with its end: a request is heard, anything else refused."""
    async with listening(early) as listener, dial(listener.address) as connection:
        await connection.send(request(b"Content-Length: 3"))
        await connection.reply()
        await connection.send(b"abc" + GET)
        answered = await connection.reply()
        await connection.send(request(b"Content-Length: 3"))
        await connection.reply()
        await connection.send(b"abc" + request(b"X : y"))
        refused = replies(await connection.until_closed())

    assert (answered.status, [reply.status for reply in refused]) == (401, [400])


@on_uvloop
async def test_half_a_request_behind_an_unwanted_body_is_owed_its_rest() -> None:
    """In one segment with that body's end it gets its 408 like any other, before an idle one's time."""
    async with listening(early) as listener, dial(listener.address) as connection:
        await connection.send(request(b"Content-Length: 3"))
        await connection.reply()
        await connection.send(b"abcGET /half")

        assert [reply.status for reply in replies(await connection.until_closed())] == [408]


@pytest.mark.parametrize("path", [b"/", b"/close"])
@on_uvloop
async def test_a_large_unwanted_body_costs_the_connection_but_not_the_answer(path: bytes) -> None:
    """The client that is still sending reads the answer before the connection breaks."""
    head = request(b"Content-Length: 9000000", line=b"POST %b HTTP/1.1" % path)
    async with listening(early, dataclasses.replace(PATIENT, linger=0.2)) as listener:
        answers = await exchange(listener.address, [head], endless=b"a" * 10_000)

    assert [reply.status for reply in answers] == [401]


@on_uvloop
async def test_the_end_of_an_answer_is_an_end_and_not_a_reset() -> None:
    """RFC 9112 section 9.6: a close with bytes unread would be a reset, which destroys the answer."""
    asked = threading.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.to_thread(asked.wait)
        await answer(send, b"early", 401, CLOSE)

    def blocking(address: tuple[str, int]) -> tuple[bytes, bytes]:
        with socket.create_connection(address, timeout=PATIENCE) as client:
            client.sendall(request(b"Content-Length: 1000000", body=b"a" * 1_000_000))
            asked.set()
            time.sleep(0.1)  # a client that is busy while the other side closes
            return client.recv(65536), client.recv(65536)

    async with listening(slow, dataclasses.replace(PATIENT, linger=0.5)) as listener:
        received, end = await asyncio.to_thread(blocking, listener.address)

    assert ([reply.status for reply in replies(received)], end) == ([401], b"")


@on_uvloop
async def test_reading_goes_on_after_an_answer_that_held_it() -> None:
    """A body that filled our buffer and was never asked for: the rest is skipped, the next request heard."""
    answered = 0
    full = asyncio.Event()

    async def stubborn(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal answered
        answered += 1
        await full.wait()
        await answer(send, b"early", 401)

    async with listening(stubborn, PATIENT) as listener, dial(listener.address) as connection:
        await connection.send(request(b"Content-Length: 100000"), b"a" * 70_000, b"a" * 30_000)
        full.set()
        await connection.reply()
        await connection.send(GET)
        await connection.reply()

    assert answered == 2


@on_uvloop
async def test_an_unwanted_body_that_does_not_come_is_not_waited_for() -> None:
    """An unread body that does not arrive has its deadline, and causes no second response."""
    async with listening(early) as listener:
        answers = await exchange(listener.address, [request(b"Content-Length: 10", body=b"abc")])

    assert [reply.status for reply in answers] == [401]


@on_uvloop
async def test_nothing_breaks_on_a_malformed_unwanted_body() -> None:
    """The connection ends, with the one answer."""
    async with listening(early, PATIENT) as listener, dial(listener.address) as connection:
        await connection.send(request(b"Transfer-Encoding: chunked"))
        first = await connection.reply()
        await connection.send(b"nonsense\r\n" + SMUGGLED)

        assert (first.status, await connection.until_closed()) == (401, b"")


@on_uvloop
async def test_an_answer_already_begun_is_cut_when_its_request_breaks() -> None:
    """The client must not take a part for the whole: the last chunk is missing."""
    begun = asyncio.Event()

    async def streaming(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        begun.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        await send({"type": "http.response.body", "body": b"end"})

    async with listening(streaming, PATIENT) as listener, dial(listener.address) as connection:
        await connection.send(request(b"Transfer-Encoding: chunked"))
        await begun.wait()
        await connection.send(b"nonsense\r\n")

        assert (await connection.until_closed()).endswith(b"\r\n4\r\npart\r\n")


@on_uvloop
async def test_an_application_may_fail_after_its_connection_was_given_up() -> None:
    """Closed, but with bytes the client does not take, the connection is not touched again."""
    gone, go = asyncio.Event(), asyncio.Event()
    troubles: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context))

    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a" * 30_000, "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()
        await go.wait()
        raise RuntimeError("a defect")

    async with listening(failing, PATIENT, sock=narrow_socket()) as listener:
        with narrow_client(listener.address) as client:
            client.sendall(request(b"Transfer-Encoding: chunked", body=b"nonsense\r\n"))
            await gone.wait()
            await asyncio.sleep(5 * PATIENT.linger)
            go.set()
            await asyncio.sleep(0)

    assert troubles == []


@pytest.mark.serial
@on_uvloop
async def test_the_application_learns_at_once_that_its_request_broke() -> None:
    """While the connection still lingers; what it answers then goes nowhere."""
    gone, refused = asyncio.Event(), asyncio.Event()

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()
        await refused.wait()
        await answer(send, b"too late")

    async with (
        listening(waiting, dataclasses.replace(PATIENT, linger=0.3)) as listener,
        dial(listener.address) as connection,
    ):
        await connection.send(request(b"Transfer-Encoding: chunked"), b"nonsense\r\n")
        began = time.monotonic()
        await gone.wait()
        took = time.monotonic() - began
        refused.set()
        answers = replies(await connection.until_closed())

    assert [reply.status for reply in answers] == [400]
    assert took < 0.3


@on_uvloop
async def test_a_request_behind_a_slow_one_does_not_disturb_its_answer() -> None:
    """RFC 9112 section 9.3.2: the client of the second must be ready to send it again."""
    asked, go = asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        asked.set()
        await go.wait()
        await answer(send, scope["raw_path"])

    async with listening(slow) as listener, dial(listener.address) as connection:
        await connection.send(GET)
        await asked.wait()
        await connection.send(SMUGGLED, b"\0\0\0")
        go.set()
        answers = replies(await connection.until_closed())

    assert [(reply.body, reply.headers[b"connection"]) for reply in answers] == [(b"/hostile", b"close")]


@on_uvloop
async def test_the_application_sees_its_client_leave() -> None:
    """The application sees a disconnect, also with bytes of a second request behind the first."""
    asked, gone = asyncio.Event(), asyncio.Event()

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        asked.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()

    async with listening(waiting, PATIENT) as listener:
        async with dial(listener.address) as connection:
            await connection.send(GET + SMUGGLED)
            await asked.wait()
        async with asyncio.timeout(PATIENCE):
            await gone.wait()


@on_uvloop
async def test_a_head_does_not_wait_for_its_content() -> None:
    """An event stream begins before its first event."""
    go = asyncio.Event()

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await go.wait()
        await send({"type": "http.response.body", "body": b"event"})

    async with listening(stream) as listener, dial(listener.address) as connection:
        await connection.send(GET)
        begun = await connection.read_some()
        go.set()
        rest = await connection.read_some()

    assert (begun.startswith(b"HTTP/1.1 200 OK\r\n"), begun.endswith(b"\r\n\r\n")) == (True, True)
    assert rest.startswith(b"5\r\nevent\r\n")


@pytest.mark.parametrize("length", [b"Content-Length: 0", b"Content-Length: 9"], ids=["whole", "unread-body"])
@on_uvloop
async def test_an_answer_without_content_leaves_before_the_close(length: bytes) -> None:
    """HEAD has none to carry the head along."""
    async with listening(early) as listener, dial(listener.address) as connection:
        await connection.send(request(length, line=b"HEAD /close HTTP/1.1"))
        received = await connection.until_closed()

    assert received.startswith(b"HTTP/1.1 401 ")


# Answers by the short way.


class Short:
    """Answers whole, as `Inbound.answer` does; by messages where that says no. What it said is taken down."""

    def __init__(self) -> None:
        self.results: list[bool] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["raw_path"] == b"/patient":
            while (await receive()).get("more_body"):
                pass
        body = b"a" * 3
        head = b"content-length: 3\r\nx: y\r\n"
        self.results.append(scope["extensions"][EXCHANGE].answer(200, head, body))
        if not self.results[-1]:
            await answer(send, body)


@pytest.mark.parametrize("path", [b"/patient", b"/early"])
@on_uvloop
async def test_a_whole_answer_is_like_any_other(path: bytes) -> None:
    """The connection is kept, an unread body skipped, and the last answer says that it is."""
    app = Short()
    line = b"POST %b HTTP/1.1" % path
    async with listening(app) as listener, dial(listener.address) as connection:
        await connection.send(request(b"Content-Length: 3", line=line), b"abc")
        first = await connection.reply()
        await connection.send(request(b"Content-Length: 3", b"Connection: close", line=line, body=b"abc"))
        (last,) = replies(await connection.until_closed())

    assert app.results == [True, True]
    assert (first.status, first.body, first.headers[b"x"], first.headers.get(b"connection")) == (
        200,
        b"aaa",
        b"y",
        None,
    )
    assert (last.body, last.headers[b"connection"], b"date" in last.headers) == (b"aaa", b"close", True)


@on_uvloop
async def test_a_whole_answer_to_head_has_no_content() -> None:
    """RFC 9110 section 9.3.2: the fields are those of a GET."""
    async with listening(Short()) as listener, dial(listener.address) as connection:
        await connection.send(request(b"Connection: close", line=b"HEAD /early HTTP/1.1"))
        received = await connection.until_closed()

    assert b"content-length: 3\r\n" in received
    assert received.endswith(b"\r\n\r\n")


@on_uvloop
async def test_no_100_follows_a_whole_answer() -> None:
    """The body is not wanted any more."""
    asked: list[str] = []

    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        scope["extensions"][EXCHANGE].answer(200, b"content-length: 0\r\n", b"")
        asked.append((await receive())["type"])

    async with listening(late) as listener:
        answers = await exchange(listener.address, [request(b"Expect: 100-continue", b"Content-Length: 3")])

    assert ([reply.status for reply in answers], asked) == ([200], ["http.disconnect"])


@on_uvloop
async def test_who_waits_for_the_client_to_leave_is_told_after_a_whole_answer() -> None:
    """As after any: there is nothing more to receive."""
    ended: list[str] = []

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        watching = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        scope["extensions"][EXCHANGE].answer(200, b"content-length: 0\r\n", b"")
        ended.append((await asyncio.wait_for(watching, PATIENCE))["type"])

    async with listening(watched) as listener, dial(listener.address) as connection:
        await connection.send(GET)
        await connection.reply()

    assert ended == ["http.disconnect"]


@on_uvloop
async def test_there_is_no_whole_answer_after_a_begun_one_or_to_nobody() -> None:
    """The one is for the application to finish; the other is over."""
    results: list[bool] = []
    finished = asyncio.Event()

    async def both(scope: Scope, receive: Receive, send: Send) -> None:
        whole = scope["extensions"][EXCHANGE].answer
        await send({"type": "http.response.start", "status": 200, "headers": []})
        results.append(whole(200, b"content-length: 0\r\n", b""))
        while (await receive())["type"] != "http.disconnect":
            pass
        results.append(whole(200, b"content-length: 0\r\n", b""))
        finished.set()

    async with listening(both, PATIENT) as listener:
        async with dial(listener.address) as connection:
            await connection.send(GET)
            assert (await connection.read_some()).startswith(b"HTTP/1.1 200 OK")
        async with asyncio.timeout(PATIENCE):
            await finished.wait()

    assert results == [False, True]


@on_uvloop
async def test_a_slow_reader_is_not_given_whole_answers() -> None:
    """While its buffer is full an answer has to wait, as any does."""
    results: list[bool] = []

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        body = b"a" * 100_000
        results.append(scope["extensions"][EXCHANGE].answer(200, b"content-length: 100000\r\n", body))
        if not results[-1]:
            await answer(send, body)

    async with listening(large, PATIENT, sock=narrow_socket()) as listener:
        with narrow_client(listener.address) as client:
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(client, GET)
            received = await loop.sock_recv(client, 100)
            await loop.sock_sendall(client, request(b"Connection: close", line=b"GET /hostile HTTP/1.1"))
            while some := await loop.sock_recv(client, 65536):
                received += some

    assert [len(reply.body) for reply in replies(received)] == [100_000, 100_000]
    assert results == [True, False]


# Readers that do not read.


def narrow_socket() -> socket.socket:
    """A listening socket whose connections have hardly any buffer of the system's."""
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    return sock


def narrow_client(address: tuple[str, int]) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    client.connect(address)
    return client


SLOW = dataclasses.replace(PATIENT, stall_time=0.3, min_rate=50_000, keep_alive=PATIENCE)


@pytest.mark.parametrize("size", [40_000, 1_000_000], ids=["the-last-of-it", "a-full-buffer"])
@on_uvloop
async def test_a_client_that_does_not_read_is_dropped(size: int) -> None:
    """Neither a full buffer nor the rest of a finished answer is kept for ever."""
    reports: list[str] = []
    dropped = asyncio.Event()

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"a" * size)

    def report(word: str) -> None:
        reports.append(word)
        dropped.set()

    async with listening(large, SLOW, report=report, sock=narrow_socket()) as listener:
        with narrow_client(listener.address) as client:
            client.sendall(GET)
            async with asyncio.timeout(PATIENCE):
                await dropped.wait()

    assert reports == ["slow_reader"]


@on_uvloop
async def test_an_answer_that_only_the_system_has_taken_is_not_kept() -> None:
    """A small answer fits the system's buffer; a client that does not read it gets a reset in time."""
    reports: list[str] = []

    async def small(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"a" * 40_000)

    async with listening(small, SLOW, report=reports.append) as listener:
        with narrow_client(listener.address) as client:
            client.sendall(GET)
            client.setblocking(False)
            async with asyncio.timeout(PATIENCE):
                while not reports:  # noqa: ASYNC110 the server's timer reports
                    await asyncio.sleep(0.05)
            with pytest.raises(ConnectionResetError):  # after what its system has received
                await _read_to_the_end(client)

    assert reports == ["slow_reader"]


@on_uvloop
async def test_a_refused_client_is_not_read_any_further() -> None:
    """While its connection lingers it can fill the system's buffers, not our time."""
    async with listening(Recorder(), dataclasses.replace(QUICK, linger=0.3), sock=narrow_socket()) as listener:
        with narrow_client(listener.address) as client:
            client.sendall(request(b"Upgrade: x"))
            client.setblocking(False)
            with pytest.raises(ConnectionError):
                await asyncio.get_running_loop().sock_sendall(client, b"a" * 500_000)


@pytest.mark.serial
@on_uvloop
async def test_a_client_that_reads_slowly_gets_all_of_it() -> None:
    """Slower than the buffer fills, but not slower than the least rate."""
    size = 250_000
    reports: list[str] = []

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"a" * size)

    async with listening(large, SLOW, report=reports.append, sock=narrow_socket()) as listener:
        with narrow_client(listener.address) as client:
            client.sendall(request(b"Connection: close", line=b"GET /hostile HTTP/1.1"))
            client.setblocking(False)
            received, times = b"", [time.monotonic()]
            while some := await asyncio.get_running_loop().sock_recv(client, 10_000):
                received += some
                times.append(time.monotonic())
                await asyncio.sleep(0.02)

    assert (len(replies(received)[0].body), reports) == (size, [])
    assert times[-1] - times[0] > 2 * SLOW.stall_time
    assert max(later - sooner for sooner, later in pairwise(times)) < SLOW.stall_time


@pytest.mark.serial
@on_uvloop
async def test_a_quiet_stream_is_no_slow_reader() -> None:
    """An event stream may be silent for long, and its client need not read an event before the next one."""
    reports: list[str] = []
    spoken = asyncio.Event()

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"30003")]})
        await send({"type": "http.response.body", "body": b"a" * 30_000, "more_body": True})
        await asyncio.sleep(3 * SLOW.stall_time)
        spoken.set()
        await send({"type": "http.response.body", "body": b"end"})

    async with listening(stream, SLOW, report=reports.append, sock=narrow_socket()) as listener:
        with narrow_client(listener.address) as client:
            client.sendall(request(b"Connection: close", line=b"GET /hostile HTTP/1.1"))
            await spoken.wait()
            client.setblocking(False)
            received = b""
            while some := await asyncio.get_running_loop().sock_recv(client, 65536):
                received += some

    assert ([len(reply.body) for reply in replies(received)], reports) == ([30_003], [])


@on_uvloop
async def test_a_connection_leaves_nothing_for_the_collector() -> None:
    """No circle of references is left of it: at a thousand connections a second they would add up."""
    gc.collect()
    gc.disable()
    try:
        others = {id(connection) for connection in inbounds()}
        async with listening(Recorder()) as listener, dial(listener.address) as connection:
            await connection.send(GET)
            await connection.reply()
            (left,) = [weakref.ref(found) for found in inbounds() if id(found) not in others]
    finally:
        gc.enable()

    assert left() is None


def inbounds() -> list[HttpConnection]:
    return [thing for thing in gc.get_objects() if isinstance(thing, HttpConnection)]


@on_uvloop
async def test_a_refusal_is_reported_and_explained() -> None:
    """In a word to the operator, in JSON to the client."""
    reports: list[str] = []
    async with listening(Recorder(), report=reports.append) as listener:
        (reply,) = await exchange(listener.address, [request(b"X: " + b"y" * 40_000)])

    assert reports == ["head_too_large"]
    assert (reply.status, reply.headers[b"connection"], reply.headers[b"content-type"]) == (
        431,
        b"close",
        b"application/json",
    )
    assert b'"error_type":"head_too_large"' in reply.body


async def test_it_works_on_the_plain_loop_too() -> None:
    """uvloop is for speed; nothing depends on it."""
    recorder = Recorder()
    async with listening(recorder, ConnectionLimits(sweep=0.02, linger=0.02)) as listener:
        answers = await exchange(listener.address, [request(b"Upgrade: x"), SMUGGLED])
        heard = await exchange(listener.address, [request(b"Content-Length: 3", b"Connection: close", body=b"abc")])

    assert [reply.status for reply in answers + heard] == [400, 200]
    assert recorder.heard == [(b"/hostile", b"abc")]


async def _read_to_the_end(client: socket.socket) -> None:
    while await asyncio.get_running_loop().sock_recv(client, 65536):
        pass

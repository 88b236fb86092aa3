"""Tests of proxy.http.server.overload, on the connections of a server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest
from starlette.types import Receive, Scope, Send
from support.hostile_http import request
from support.http_server import QUICK, Recorder, listening, on_uvloop
from support.raw_http import RawConnection, dial, exchange
from support.scripted_upstream import until

from proxy.fal_api.call_ranks import CallRanks
from proxy.http.fields import Fields
from proxy.http.server.load_limit import AT_ONCE, LoadLimit, Rank
from proxy.http.server.overload import Overload
from proxy.http.server.server import HttpServer
from proxy.http.server.state import SharedState

MANY = replace(QUICK, connections=1000, per_address=1000)
SESSION = b"Authorization: Bearer x"
POLL = request(SESSION, line=b"GET /queue/a/requests/b/status HTTP/1.1")
CANCEL = request(SESSION, line=b"PUT /queue/a/requests/b/cancel HTTP/1.1")


class Fixed(LoadLimit):
    """A limit that does not follow the lag."""

    def observe(self, lag: float, now: float, *, cpu: float, answered: int, in_flight: int, unstarted: int = 0) -> None:
        pass


def overload(most: float = 0.0) -> Overload:
    return with_limit(fixed(most))


def fixed(most: float, kind: type[Fixed] = Fixed) -> Fixed:
    load_limit = kind(floor=0)
    load_limit.most = load_limit.begins_at = most
    return load_limit


def with_limit(load_limit: LoadLimit, *, waiting: Callable[[], int] = int, kind: type[Overload] = Overload) -> Overload:
    return kind(load_limit, open_streams=int, waiting=waiting, ranking=CallRanks(frozenset(), b"/webhooks/"))


@asynccontextmanager
async def loaded(state: Overload, app: Recorder, rejected: list[str]) -> AsyncIterator[HttpServer]:
    async with listening(app, MANY, report=rejected.append) as listener:
        assert listener.shared is not None
        listener.shared.overload = state
        yield listener


@on_uvloop
async def test_a_refusal_is_complete_and_the_connection_stays() -> None:
    """Each gets 503, Retry-After and a JSON body, and the application sees none; a cancel gets through."""
    recorder, rejected = Recorder(), list[str]()
    submit = request(SESSION, b"Content-Length: 5", line=b"POST /queue/a HTTP/1.1", body=b"12345")
    async with loaded(overload(), recorder, rejected) as listener, dial(listener.address) as connection:
        answers = []
        for segments in ([POLL], [submit], [POLL[:30], POLL[30:]], [submit[:-2], submit[-2:]], [CANCEL], [POLL]):
            await connection.send(*segments)
            answers.append(await connection.reply())

    assert [reply.status for reply in answers] == [503, 503, 503, 503, 200, 503]
    assert json.loads(answers[0].body)["error_type"] == "overloaded"
    waits = {reply.headers[b"retry-after"] for reply in answers if reply.status == 503}
    assert len(waits) > 1, "clients that were refused together must not come back together"
    assert [path for path, _ in recorder.heard] == [b"/queue/a/requests/b/cancel"]
    assert rejected == ["overloaded"] * 5


SPECIAL = {
    "two-requests": POLL + POLL,
    "half": POLL[:-2],
    "http-1.0": request(SESSION, line=b"GET /usage HTTP/1.0"),
    "close": request(SESSION, b"Connection: close", line=b"GET /usage HTTP/1.1"),
    "hidden-field": request(SESSION, b"A: b\ntransfer-encoding: chunked", line=b"GET /usage HTTP/1.1"),
    "folded-field": request(SESSION, b"A: b", b" content-length: 3", line=b"GET /usage HTTP/1.1"),
    "bare-cr": request(SESSION, b"A: b\rcontent-length: 3", line=b"GET /usage HTTP/1.1"),
    "nul": request(SESSION, b"A: \0", line=b"GET /usage HTTP/1.1"),
    "keep-alive-and-close": request(
        SESSION, b"Connection: keep-alive", b"Connection: close", line=b"GET /usage HTTP/1.1"
    ),
    "chunks": request(SESSION, b"Transfer-Encoding: chunked", line=b"POST /queue/a HTTP/1.1", body=b"0\r\n\r\n"),
    "expects": request(SESSION, b"Expect: 100-continue", b"Content-Length: 1", line=b"POST /queue/a HTTP/1.1"),
    "less-body": request(SESSION, b"Content-Length: 3", line=b"POST /queue/a HTTP/1.1", body=b"12"),
    "more-body": request(SESSION, b"Content-Length: 3", line=b"POST /queue/a HTTP/1.1", body=b"1234"),
    "two-lengths": request(SESSION, *[b"Content-Length: 1"] * 2, line=b"POST /queue/a HTTP/1.1", body=b"1"),
    "odd-length": request(SESSION, b"Content-Length: +1", line=b"POST /queue/a HTTP/1.1", body=b"1"),
    "length-with-a-space": request(SESSION, b"Content-Length : 1", line=b"POST /queue/a HTTP/1.1", body=b"1"),
    "cancel": CANCEL,
    "no-http": b"nonsense\r\n\r\n",
    "empty": b"",
}


@pytest.mark.parametrize("data", SPECIAL.values(), ids=SPECIAL)
def test_only_plain_requests_are_refused_unparsed(data: bytes) -> None:
    """The parser gets all on which the end of a request or of its connection depends."""
    state = overload()

    assert state.refusal(POLL, 9) is not None
    assert state.refusal(request(SESSION, b"Content-Length: 1", line=b"POST /queue/a HTTP/1.1", body=b"1"), 9)
    assert state.refusal(data, 9) is None


@pytest.mark.parametrize(
    "message",
    [
        request(SESSION, b"Connection: close", line=b"GET /usage HTTP/1.1"),
        request(SESSION, line=b"GET /usage HTTP/1.0"),
        request(SESSION, b"Expect: 100-continue", b"Content-Length: 9", line=b"POST /queue/a HTTP/1.1"),
        request(SESSION, b"Connection: close", b"Content-Length: 9", line=b"POST /queue/a HTTP/1.1", body=b"x" * 9),
        request(SESSION, b"Content-Length: 900000", line=b"POST /queue/a HTTP/1.1", body=b"x" * 900_000),
    ],
    ids=["close", "http-1.0", "expects", "close-with-body", "large-body"],
)
@on_uvloop
async def test_a_connection_that_cannot_stay_is_closed(message: bytes) -> None:
    """One whole answer, then the end of the connection; a large body is not read to its end."""
    async with loaded(overload(), Recorder(), []) as listener:
        answers = await exchange(listener.address, [message])

    assert [reply.status for reply in answers] == [503]


@on_uvloop
async def test_a_page_of_another_origin_can_read_the_refusal() -> None:
    """The refusal has the fields of CORS, by the origin of the request."""
    state = overload()

    def cors(fields: Fields) -> Fields:
        return [(b"access-control-allow-origin", dict(fields)[b"origin"])]

    state.configure(CallRanks(frozenset(), b"/webhooks/"), cors)
    async with loaded(state, Recorder(), []) as listener, dial(listener.address) as connection:
        await connection.send(request(SESSION, b"Origin: https://a.example", line=b"GET /usage HTTP/1.1"))
        reply = await connection.reply()

    assert reply.headers[b"access-control-allow-origin"] == b"https://a.example"


ORIGINS = [(b"https://A.example", True), (b"https://b.example", False)]


@pytest.mark.parametrize(("origin", "is_listed"), ORIGINS)
def test_an_unparsed_refusal_names_a_listed_origin(origin: bytes, is_listed: bool) -> None:
    """In its own case, and also the second time."""
    state = overload()
    state.configure(
        CallRanks(frozenset(), b"/webhooks/"),
        lambda fields: [(b"allowed", value) for _, value in fields if value == ORIGINS[0][0]],
    )
    message = request(SESSION, b"Origin:  " + origin, line=b"GET /usage HTTP/1.1")
    refusals = [state.refusal(message, 9) or b"" for _ in range(2)]

    assert [b"\r\nallowed: " + origin + b"\r\n" in refusal for refusal in refusals] == [is_listed] * 2
    assert all(refusal.count(b"\r\n\r\n") == 1 for refusal in refusals)


def test_a_repeat_keeps_its_rank_until_a_reload() -> None:
    """A request has a session only by a session field that the new configuration lists."""
    state, message = overload(), request(b"X-Session: x", line=b"GET /usage HTTP/1.1")
    for ranking in (CallRanks(frozenset(), b"/w/"), CallRanks(frozenset({b"x-session"}), b"/w/")):
        state.configure(ranking, lambda _: ())
        for _ in range(3):
            state.refusal(message, 9)

    assert state.load_limit.refused == {Rank.UNAUTHENTICATED: 3, Rank.POLL: 3}


class Slow(Recorder):
    """An application that answers after its release."""

    def __init__(self) -> None:
        super().__init__()
        self.release = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.release.wait()
        await super().__call__(scope, receive, send)


@on_uvloop
async def test_requests_in_flight_are_counted_until_they_are_answered() -> None:
    """Polls are refused from their share on, and admitted again after the answers."""
    state, app = overload(10.0), Slow()
    state.load_limit.begins_at = 0.0
    async with loaded(state, app, []) as listener:
        connections = [await asyncio.open_connection(*listener.address) for _ in range(8)]
        for _, writer in connections:
            writer.write(POLL)
        refused = [RawConnection(*pair) for pair in connections[6:]]
        statuses = [(await connection.reply()).status for connection in refused]
        app.release.set()
        statuses += [(await RawConnection(*pair).reply()).status for pair in connections[:6]]
        async with dial(listener.address) as connection:
            await connection.send(POLL)
            statuses.append((await connection.reply()).status)
        for _, writer in connections:
            writer.close()

    assert statuses == [503, 503, *[200] * 7]
    assert state.load_limit.refused == {Rank.POLL: 2}


@on_uvloop
async def test_a_request_is_in_flight_from_its_end_to_its_answer() -> None:
    """Half-sent bodies take no room. A client that leaves is counted until its request has ended."""
    app, shared = Slow(), SharedState()
    listener = HttpServer(app, shared=shared)
    await listener.start()
    submit = request(SESSION, b"Content-Length: 5", line=b"POST /queue/a HTTP/1.1", body=b"12345")
    try:
        _reader, writer = await asyncio.open_connection(*listener.address)
        writer.write(submit[:-1])
        await until(lambda: len(listener.server_state.tasks) == 1)
        half_sent = shared.in_flight
        writer.write(submit[-1:])
        await until(lambda: shared.in_flight == 1)
        writer.close()
        async with dial(listener.address) as connection:
            await connection.send(POLL)
            await until(lambda: shared.in_flight == 2)
            app.release.set()
            await connection.reply()
        await until(lambda: shared.answered == 2)
    finally:
        app.release.set()
        await listener.stop(grace=1)

    assert half_sent == 0
    assert shared.in_flight == 0


class Busy(Overload):
    """An overload in whose eyes the process is never idle."""

    def observe(self, due: float, in_flight: int, answered: int, *, unstarted: int = 0) -> bool:
        super().observe(due, in_flight, answered, unstarted=unstarted)
        return False


class Counted(Recorder):
    """An application that answers as many requests as are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[bytes] = []
        self.let_go = asyncio.Semaphore(0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun.append(scope["raw_path"])
        await self.let_go.acquire()
        await super().__call__(scope, receive, send)


def busy(waiting: Callable[[], int] = int) -> Overload:
    return with_limit(fixed(1000.0), waiting=waiting, kind=Busy)


def numbered(number: int) -> bytes:
    return b"/queue/a/requests/%d/status" % number


@on_uvloop
async def test_further_requests_start_when_others_have_ended() -> None:
    """AT_ONCE requests run, the others wait in their order; a client may leave. Cancels start at once."""
    state, app = busy(), Counted()
    async with loaded(state, app, []) as listener, AsyncExitStack() as stack:
        shared, polls = listener.shared, list[RawConnection]()
        assert shared is not None
        for number in range(AT_ONCE + 4):
            polls.append(await stack.enter_async_context(dial(listener.address)))
            await polls[-1].send(request(SESSION, line=b"GET %b HTTP/1.1" % numbered(number)))
            await until(lambda: shared.in_flight == len(polls))
        running = len(app.begun)
        canceller = await stack.enter_async_context(dial(listener.address))
        await canceller.send(CANCEL)
        await until(lambda: len(app.begun) > running)
        async with dial(listener.address) as leaver:
            await leaver.send(request(SESSION, line=b"GET %b HTTP/1.1" % numbered(AT_ONCE + 4)))
            await until(lambda: shared.in_flight == len(polls) + 2)
        for _ in range(len(polls) + 2):
            app.let_go.release()
        answers = [await connection.reply() for connection in (canceller, *polls)]
        await until(lambda: shared.in_flight == 0)

    assert running == AT_ONCE
    assert app.begun[AT_ONCE] == b"/queue/a/requests/b/cancel"
    assert app.begun[AT_ONCE + 1 :] == [numbered(number) for number in range(AT_ONCE, AT_ONCE + 5)]
    assert {reply.status for reply in answers} == {200}


@on_uvloop
async def test_requests_that_only_wait_leave_room() -> None:
    """A request starts within a tick once another one waits for fal, though none has ended."""
    waiting, app = 0, Counted()
    async with loaded(busy(waiting=lambda: waiting), app, []) as listener, AsyncExitStack() as stack:
        shared, polls = listener.shared, list[RawConnection]()
        assert shared is not None
        for _ in range(AT_ONCE + 1):
            polls.append(await stack.enter_async_context(dial(listener.address)))
            await polls[-1].send(POLL)
        await until(lambda: shared.in_flight == AT_ONCE + 1)
        before, waiting = len(app.begun), 1
        await until(lambda: len(app.begun) == AT_ONCE + 1)
        for _ in polls:
            app.let_go.release()
        answers = [await connection.reply() for connection in polls]

    assert before == AT_ONCE
    assert {reply.status for reply in answers} == {200}


class Starved(Fixed):
    """A fixed limit of a process whose ticks are late, because others have the CPU."""

    is_starved = True


@pytest.mark.parametrize(
    ("kind", "refused"), [(Starved, [True, True, True, True, False]), (Fixed, [False] * 5)], ids=["starved", "busy"]
)
def test_what_has_just_begun_to_wait_is_in_flight_without_a_cpu(kind: type[Fixed], refused: list[bool]) -> None:
    """Replies that were not read yet look like waits: there the least number of four ticks counts."""
    waiting, found = 50, []
    state = with_limit(fixed(12.0, kind), waiting=lambda: waiting)
    for _ in refused:
        found.append(state.refusal(POLL, 55) is not None)
        state.observe(time.monotonic(), 55, 0)
    waiting = 5

    assert found == refused
    assert state.refusal(POLL, 55) is not None, "those that wait no longer count"


def test_late_ticks_before_a_start_are_forgotten() -> None:
    """The timer stops without connections; what it saw last does not count at its next start."""
    load_limit = LoadLimit()
    state = with_limit(load_limit)
    state.start(0)
    state.observe(time.monotonic() - 0.2, 0, 0)
    before = load_limit.is_starved
    state.start(0)

    assert before
    assert not load_limit.is_starved


@on_uvloop
async def test_an_idle_process_starts_what_waits() -> None:
    """Requests that wait for a store keep no other request from its start."""
    app = Counted()
    async with loaded(overload(1000.0), app, []) as listener, AsyncExitStack() as stack:
        polls = [await stack.enter_async_context(dial(listener.address)) for _ in range(2 * AT_ONCE)]
        for poll in polls:
            await poll.send(POLL)
        await until(lambda: len(app.begun) == 2 * AT_ONCE)
        for _ in polls:
            app.let_go.release()
        answers = [await poll.reply() for poll in polls]

    assert {reply.status for reply in answers} == {200}


@on_uvloop
async def test_clients_that_do_not_read_leave_room() -> None:
    """Answers that wait for their clients keep no other request from its start."""
    app, shared = Large(), SharedState(limits=MANY, overload=busy())
    listener = HttpServer(app, shared=shared)
    await listener.start()
    try:
        async with AsyncExitStack() as stack:
            for _ in range(AT_ONCE + 2):
                slow = await stack.enter_async_context(dial(listener.address))
                await slow.send(request(SESSION, line=b"GET /large HTTP/1.1"))
            await until(lambda: shared.stalled >= AT_ONCE, seconds=20)
            async with dial(listener.address) as connection:
                await connection.send(POLL)
                answer = await connection.reply()
    finally:
        await listener.stop(grace=0.1)

    assert answer.status == 200
    assert shared.stalled == 0


@on_uvloop
async def test_what_waits_at_the_end_is_not_started() -> None:
    """When the time of a shutdown is over, requests that wait are ended without a start."""
    app, shared = Counted(), SharedState(limits=MANY, overload=busy())
    listener = HttpServer(app, shared=shared)
    await listener.start()
    async with AsyncExitStack() as stack:
        polls = [await stack.enter_async_context(dial(listener.address)) for _ in range(AT_ONCE + 3)]
        for poll in polls:
            await poll.send(POLL)
            await until(lambda: shared.in_flight > polls.index(poll))  # noqa: B023 awaited at once
        async with dial(listener.address) as leaver:
            await leaver.send(POLL)
            await until(lambda: shared.in_flight == AT_ONCE + 4)
        await until(lambda: len(shared.connections) == AT_ONCE + 3)
        await listener.stop(grace=0.1)
        answers = [await poll.reply() for poll in polls[AT_ONCE:]]

    assert len(app.begun) == AT_ONCE
    assert not shared.waiting
    assert [(reply.status, json.loads(reply.body)["error_type"]) for reply in answers] == [(503, "overloaded")] * 3


class Large(Recorder):
    """An application whose answers at /large fill the buffers of a client that does not read."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/large":
            await super().__call__(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(16):
            await send({"type": "http.response.body", "body": bytes(1_000_000), "more_body": True})


@on_uvloop
async def test_a_blocked_event_loop_is_noticed() -> None:
    """The lag of the loop of a real server reaches the limit."""
    state = with_limit(LoadLimit())
    async with loaded(state, Recorder(), []) as listener, dial(listener.address) as connection:
        await connection.send(POLL)
        await connection.reply()
        for _ in range(12):
            time.sleep(0.06)  # noqa: ASYNC251 as a busy loop does
            await asyncio.sleep(0)
        lag = state.load_limit.lag

    assert lag > 0.02

from __future__ import annotations

import asyncio
import dataclasses
import gc
import signal
import socket
import subprocess
import sys
import time
import weakref
from ipaddress import ip_network
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send
from support.hostile_http import request
from support.http_server import QUICK, Recorder, answer, listening, on_uvloop
from support.raw_http import PATIENCE, RawConnection, dial, exchange, replies

from proxy.http.server.server import HttpServer
from proxy.http.server.state import SharedState

GET = request(line=b"GET /hostile HTTP/1.1")
PATIENT = dataclasses.replace(QUICK, head_time=PATIENCE, body_time=PATIENCE)


class Slow:
    """An application that answers on command."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go = asyncio.Event()
        self.finished = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.set()
        await self.go.wait()
        await answer(send, b"done")
        self.finished += 1


@on_uvloop
async def test_several_listeners_share_a_loop_and_no_signal() -> None:
    """Gateway, admin and sandbox run side by side; who owns the process owns the signals."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    first, second = Recorder(), Recorder()
    async with listening(first) as one, listening(second) as other:
        during = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        for listener in (one, other, other):
            async with dial(listener.address) as connection:
                await connection.send(GET)
                await connection.reply()

    assert (len(first.heard), len(second.heard)) == (1, 2)
    assert during == before


@on_uvloop
async def test_answers_tell_the_date_and_not_the_server() -> None:
    """RFC 9110 section 6.6.1; the Server field would tell only whom to attack how."""
    async with listening(Recorder()) as listener, dial(listener.address) as connection:
        await connection.send(GET)
        fields = (await connection.reply()).headers

    assert b"date" in fields
    assert b"server" not in fields


@on_uvloop
async def test_forwarded_fields_do_not_change_the_peer() -> None:
    """uvicorn's own reading of X-Forwarded-For trusts loopback; it is off."""
    recorder = Recorder()
    raw = request(b"X-Forwarded-For: 203.0.113.9", b"X-Forwarded-Proto: https")
    async with listening(recorder) as listener, dial(listener.address) as connection:
        await connection.send(raw)
        await connection.reply()

    assert (recorder.scopes[0]["client"][0], recorder.scopes[0]["scheme"]) == ("127.0.0.1", "http")


# Starting.


class Living:
    """An application with a lifespan that takes down its turns."""

    def __init__(self, *, fails: bool = False) -> None:
        self.turns: list[str] = []
        self._fails = fails

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await answer(send, str(scope["state"]["name"]).encode())
            return
        await receive()
        self.turns.append("startup")
        scope["state"]["name"] = "living"
        await send({"type": "lifespan.startup.failed" if self._fails else "lifespan.startup.complete"})
        await receive()
        self.turns.append("shutdown")
        await send({"type": "lifespan.shutdown.complete"})


@on_uvloop
async def test_the_lifespan_encloses_the_requests() -> None:
    """Started before the first connection, ended after the last; its state is the requests'."""
    app = Living()
    async with listening(app, lifespan="on") as listener:
        async with dial(listener.address) as connection:
            await connection.send(GET)
            assert (await connection.reply()).body == b"living"
        assert app.turns == ["startup"]

    assert app.turns == ["startup", "shutdown"]


@on_uvloop
async def test_an_application_that_fails_to_start_is_not_served() -> None:
    """A failed start raises an exception that the caller can catch."""
    with pytest.raises(RuntimeError, match="did not start"):
        await HttpServer(Living(fails=True), lifespan="on").start()


@on_uvloop
async def test_a_taken_port_ends_the_start() -> None:
    """The application is not started."""
    app = Living()
    with socket.create_server(("127.0.0.1", 0)) as bound, pytest.raises(OSError, match="another program listens"):
        await HttpServer(app, lifespan="on").start(port=bound.getsockname()[1])

    assert app.turns == []


# How many.


@on_uvloop
async def test_one_address_has_so_many_connections() -> None:
    """One connection too many is refused and closed; after one has gone there is room again."""
    reports: list[str] = []
    limits = dataclasses.replace(PATIENT, per_address=2)
    async with listening(Recorder(), limits, report=reports.append) as listener:
        async with dial(listener.address) as first, dial(listener.address) as second:
            await converse(first, second)
            (refused,) = await exchange(listener.address, [])
        reported = tuple(reports)
        await room(listener.address)

    assert (refused.status, refused.headers[b"retry-after"], reported) == (503, b"1", ("too_many_connections",))


async def converse(*connections: RawConnection) -> None:
    for connection in connections:
        await connection.send(GET)
        assert (await connection.reply()).status == 200


async def room(address: tuple[str, int]) -> None:
    """Returns when a new connection is served again."""
    async with asyncio.timeout(PATIENCE):
        while await request_status(address) != 200:  # noqa: ASYNC110 the worker is another process
            await asyncio.sleep(0.01)


async def request_status(address: tuple[str, int]) -> int:
    """Returns the status of one request on a new connection, 0 without an answer."""
    try:
        async with dial(address) as connection:
            await connection.send(GET)
            return (await connection.reply()).status
    except (ConnectionError, asyncio.IncompleteReadError):
        return 0


@on_uvloop
async def test_a_trusted_proxy_may_bring_many() -> None:
    """Behind it are all the clients there are."""
    limits = dataclasses.replace(PATIENT, per_address=1)
    async with (
        listening(Recorder(), limits, trusted=[ip_network("127.0.0.0/8")]) as listener,
        dial(listener.address) as first,
        dial(listener.address) as second,
    ):
        await converse(first, second)


@on_uvloop
async def test_a_worker_has_so_many_connections() -> None:
    """The limit counts connections of all addresses."""
    limits = dataclasses.replace(PATIENT, connections=1)
    async with listening(Recorder(), limits, trusted=[ip_network("127.0.0.0/8")]) as listener:
        async with dial(listener.address) as first:
            await converse(first)
            (refused,) = await exchange(listener.address, [])
        await room(listener.address)

    assert refused.status == 503


FEW_DESCRIPTORS = """
import asyncio, resource, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
sys.path.insert(0, sys.argv[1])
import uvloop
from support.http_server import Recorder
from proxy.http.server.limits import ConnectionLimits
from proxy.http.server.server import HttpServer
from proxy.http.server.state import SharedState

async def main():
    limits = ConnectionLimits(per_address=10_000, **{"connections": int(cap) for cap in sys.argv[2:]})
    listener = HttpServer(Recorder(), shared=SharedState(limits))
    await listener.start()
    print(listener.address[1], limits.connections, flush=True)
    before = time.process_time()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    print(time.process_time() - before, flush=True)
    await listener.stop(0)

with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
"""


@pytest.mark.parametrize(("options", "cap"), [([], 51), (["1000"], 1000)], ids=["capped", "out-of-descriptors"])
def test_a_flood_of_connections_passes(options: list[str], cap: int) -> None:
    """By default the cap leaves a fifth of the descriptors; without it the worker neither spins nor stops."""
    command = [sys.executable, "-c", FEW_DESCRIPTORS, str(Path(__file__).parents[3]), *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        port, connections = map(int, worker.stdout.readline().split())
        flood = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
        time.sleep(0.5)  # in which a worker that spins would be busy
        for client in flood:
            client.close()
        asyncio.run(room(("127.0.0.1", port)))
        worker.stdin.close()
        busy = float(worker.stdout.read())

    assert connections == cap
    assert busy < 0.25


# Stopping.


@on_uvloop
async def test_draining_answers_close_their_connections() -> None:
    """New connections are still served, so that nothing is lost while balancers look away."""
    async with listening(Recorder()) as listener, dial(listener.address) as connection:
        await connection.send(GET)
        before = await connection.reply()
        listener.drain()
        await connection.send(GET)
        (after,) = replies(await connection.until_closed())
        (fresh,) = await exchange(listener.address, [GET])

    assert b"connection" not in before.headers
    assert (after.headers[b"connection"], fresh.headers[b"connection"]) == (b"close", b"close")


@on_uvloop
async def test_draining_reaches_the_answer_under_way() -> None:
    """The client of a pending response gets `Connection: close` in time."""
    app = Slow()
    async with listening(app) as listener, dial(listener.address) as connection:
        await connection.send(GET)
        await app.asked.wait()
        listener.drain()
        app.go.set()
        (reply,) = replies(await connection.until_closed())

    assert reply.headers[b"connection"] == b"close"


@on_uvloop
async def test_stopping_waits_for_the_answer_under_way() -> None:
    """A pending response arrives whole; idle connections are closed, and no new ones are accepted."""
    app = Slow()
    listener = HttpServer(app, shared=SharedState(dataclasses.replace(PATIENT, closing=0.0)))
    await listener.start()
    async with dial(listener.address) as idle, dial(listener.address) as busy:
        await busy.send(GET)
        await app.asked.wait()
        stopping = asyncio.create_task(listener.stop(PATIENCE))
        assert await idle.until_closed() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*listener.address)
        asyncio.get_running_loop().call_later(5 * PATIENT.sweep, app.go.set)
        (reply,) = replies(await busy.until_closed())
        await stopping

    assert (reply.body, reply.headers[b"connection"]) == (b"done", b"close")


@pytest.mark.parametrize("before", [[], [GET]], ids=["accepted-just-now", "kept"])
@on_uvloop
async def test_stopping_answers_a_request_that_is_on_its_way(before: list[bytes]) -> None:
    """A connection without a request is not closed at once: its client may be sending one."""
    listener = HttpServer(Recorder(), shared=SharedState(dataclasses.replace(PATIENT, closing=PATIENCE)))
    await listener.start()
    async with dial(listener.address) as connection:
        for raw in before:
            await connection.send(raw)
            await connection.reply()
        stopping = asyncio.create_task(listener.stop(PATIENCE))
        async with asyncio.timeout(PATIENCE):
            while listener.servers[0].is_serving():  # noqa: ASYNC110 the server announces nothing
                await asyncio.sleep(0.005)
        await connection.send(GET)
        (reply,) = replies(await connection.until_closed())
        await stopping

    assert (reply.body, reply.headers[b"connection"]) == (b"heard", b"close")


@pytest.mark.parametrize("half", [b"POST /hos", request(b"Content-Length: 5", body=b"ab")], ids=["head", "body"])
@on_uvloop
async def test_stopping_does_not_wait_for_half_a_request(half: bytes) -> None:
    """The rest of a half-sent request has a short time to arrive, not that of responses."""
    recorder = Recorder()
    listener = HttpServer(recorder, shared=SharedState(PATIENT))
    await listener.start()
    async with dial(listener.address) as connection:
        await connection.send(GET)
        await connection.reply()
        await connection.send(half)
        stopping = asyncio.create_task(listener.stop(PATIENCE))
        async with asyncio.timeout(PATIENCE / 2):
            answers = replies(await connection.until_closed())
            await stopping

    assert [reply.status for reply in answers] == [408]
    assert len(recorder.heard) == 1


@on_uvloop
async def test_a_request_completed_while_stopping_is_answered() -> None:
    """The moment is for that."""
    recorder = Recorder()
    listener = HttpServer(recorder, shared=SharedState(dataclasses.replace(PATIENT, closing=PATIENCE)))
    await listener.start()
    async with dial(listener.address) as connection:
        await connection.send(GET)
        await connection.reply()
        await connection.send(b"POST /hostile HTTP/1.1\r\nHost: a\r\n")
        stopping = asyncio.create_task(listener.stop(PATIENCE))
        await connection.send(b"", b"Content-Length: 3\r\n\r\n", b"abc")
        (reply,) = replies(await connection.until_closed())
        await stopping

    assert (reply.status, reply.headers[b"connection"]) == (200, b"close")
    assert recorder.heard[-1] == (b"/hostile", b"abc")


@on_uvloop
async def test_a_connection_answered_early_is_closed_with_the_end_of_its_body() -> None:
    """While stopping, no connection goes idle, and none begins another request."""

    async def early(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"early", 401)

    listener = HttpServer(early, shared=SharedState(dataclasses.replace(PATIENT, closing=PATIENCE)))
    await listener.start()
    async with dial(listener.address) as connection:
        await connection.send(request(b"Content-Length: 5", body=b"ab"))
        await connection.reply()
        stopping = asyncio.create_task(listener.stop(2 * PATIENCE))
        await connection.send(b"", b"cde" + GET)
        assert await connection.until_closed() == b""
        await stopping


@on_uvloop
async def test_an_answer_that_takes_too_long_is_cancelled_and_not_cut() -> None:
    """A 500, which fal's clients do not replay for a submit; a reset connection they would."""
    app = Slow()
    listener = HttpServer(app, shared=SharedState(PATIENT))
    await listener.start()
    async with dial(listener.address) as connection:
        await connection.send(GET)
        await app.asked.wait()
        await listener.stop(grace=0.05)
        (reply,) = replies(await connection.until_closed())

    assert (reply.status, app.finished) == (500, 0)


@on_uvloop
async def test_stopping_waits_for_work_whose_client_left() -> None:
    """A submit is finished and its outcome stored, also without a client."""
    app = Slow()
    listener = HttpServer(app, shared=SharedState(PATIENT))
    await listener.start()
    async with dial(listener.address) as connection:
        await connection.send(GET)
        await app.asked.wait()
    stopping = asyncio.create_task(listener.stop(PATIENCE))
    asyncio.get_running_loop().call_later(0.1, app.go.set)
    await stopping

    assert app.finished == 1


@on_uvloop
async def test_a_client_that_does_not_read_cannot_hold_up_the_stop() -> None:
    """The connection of a client that does not read is reset at the deadline."""
    size = 20_000_000

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"a" * size)

    listener = HttpServer(large, shared=SharedState(PATIENT))
    await listener.start()
    async with dial(listener.address) as connection:
        await connection.send(GET)
        begun = await connection.read_some()
        await listener.stop(grace=0.05)
        received = begun + await connection.until_closed()

    assert received.startswith(b"HTTP/1.1 200 OK")
    assert len(received) < size


@on_uvloop
async def test_a_stopped_listener_leaves_nothing_in_the_loop() -> None:
    """No timer that would keep it alive."""
    listener = HttpServer(Recorder())
    await listener.start()
    await listener.stop(0)
    left = weakref.ref(listener)
    del listener

    async with asyncio.timeout(PATIENCE):
        while left() is not None:
            await asyncio.sleep(0.01)
            gc.collect()

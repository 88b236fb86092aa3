from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from support.hostile_answers import CHUNKED, SIZED
from support.scripted_upstream import OK, Peer, Script, ScriptedServer, on_both_loops, serve, until

from proxy.errors import ConnectFailed, DeadlineExceeded, ExchangeBroken, MalformedResponse, TransportError
from proxy.http.client.connection import HIGH_WATER, Connection

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
MIB = 1024 * 1024


@asynccontextmanager
async def connected(script: Script) -> AsyncIterator[tuple[Connection, ScriptedServer]]:
    async with serve(script) as server:
        connection = Connection(max_head=1000)
        await asyncio.get_running_loop().create_connection(lambda: connection, "127.0.0.1", server.port)
        try:
            yield connection, server
        finally:
            connection.abort()
            await connection.lost


def soon(seconds: float = 5.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def content(connection: Connection, deadline: float | None = None) -> bytes:
    parts = []
    while part := await connection.read(deadline or soon()):
        parts.append(part)
    return b"".join(parts)


async def exchange(connection: Connection, deadline: float) -> None:
    connection.send(REQUEST)
    await connection.head(deadline)
    await content(connection, deadline)


@on_both_loops
async def test_exchanges_follow_one_another() -> None:
    """A complete exchange leaves the connection open and quiet for the next one."""

    async def script(peer: Peer) -> None:
        for body in (b"1", b"2", b"3"):
            assert await peer.request() == REQUEST
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + body)
        await peer.gone()

    async with connected(script) as (connection, _):
        for body in (b"1", b"2", b"3"):
            connection.send(REQUEST)

            assert await connection.head(soon()) == (200, [(b"content-length", b"1")])
            assert await content(connection) == body
            assert connection.finish()
            assert connection.is_idle_and_clean()


@on_both_loops
@pytest.mark.parametrize(
    ("start", "received"),
    [(b"", False), (b"H", True), (SIZED + b"h", True), (CHUNKED + b"2\r\nhi\r\n0\r\n", True)],
    ids=["nothing", "head", "length", "last chunk"],
)
@pytest.mark.parametrize("how", ["close", "reset", "deadline"])
async def test_an_answer_cut_short(start: bytes, received: bool, how: str) -> None:
    """However it ends, the error says that the request was sent and whether any byte of an answer came."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(start)
        if how == "deadline":
            await peer.gone()
        if how == "reset":
            await until(arrived)
            peer.reset()

    def arrived() -> bool:
        return not start or connection._received

    async with connected(script) as (connection, server):
        with pytest.raises(TransportError) as caught:
            await exchange(connection, soon(0.05 if how == "deadline" else 5))

        assert type(caught.value) is (DeadlineExceeded if how == "deadline" else ExchangeBroken)
        assert (caught.value.sent, caught.value.received) == (True, received)
        assert not connection.finish()
        await until(lambda: not server.peers)


@on_both_loops
async def test_a_dripping_answer_meets_the_deadline() -> None:
    """The deadline is for the whole: bytes that keep coming do not put it off."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(CHUNKED)
        while True:
            peer.send(b"1\r\na\r\n")
            await asyncio.sleep(0.005)

    async with connected(script) as (connection, _):
        deadline = soon(0.1)
        with pytest.raises(DeadlineExceeded):
            await exchange(connection, deadline)

        assert deadline - 0.01 < soon(0) < deadline + 0.5


@on_both_loops
async def test_an_answer_in_the_turn_of_its_deadline_is_in_time() -> None:
    """An answer that is here counts, even if its reader has not looked when the deadline comes."""
    async with connected(Peer.gone) as (connection, _):
        connection.send(REQUEST)
        head = asyncio.create_task(connection.head(soon()))
        await until(lambda: connection._waiter is not None)
        connection.data_received(OK)
        connection._deadline = 0.0
        connection._expire()

        assert (await head)[0] == 200
        assert await content(connection) == b"ok"
        assert connection.finish()


@on_both_loops
async def test_a_peer_that_does_not_read_meets_the_deadline() -> None:
    """A large request in one write is held by no one longer than its deadline."""

    async def script(peer: Peer) -> None:
        await peer.writer.wait_closed()

    async with connected(script) as (connection, _):
        connection.send(b"x" * 10 * MIB)
        with pytest.raises(DeadlineExceeded) as caught:
            await connection.head(soon(0.1))

        assert (caught.value.sent, caught.value.received) == (True, False)
        await asyncio.wait_for(asyncio.shield(connection.lost), 5)


@on_both_loops
async def test_a_slow_reader_holds_the_upstream_back() -> None:
    """Until the reader asks, the server cannot write more than a few buffers; then all of it comes."""
    size, sent = 40 * MIB, 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // MIB):
            peer.send(b"x" * MIB)
            await peer.writer.drain()
            sent += MIB
        await peer.gone()

    async with connected(script) as (connection, server):
        connection.send(REQUEST)
        await connection.head(soon())
        await until(lambda: connection._paused)
        (peer,) = server.peers
        unread = -1
        while unread != sent:  # the kernel's buffers fill up
            unread = sent
            await asyncio.sleep(0.05)

        assert unread < size / 2
        assert connection._response.buffered < HIGH_WATER + MIB
        assert peer.writer.transport.get_write_buffer_size() > 0
        assert len(await content(connection)) == size
        assert connection.finish()


@on_both_loops
async def test_what_came_before_an_abort_can_be_read() -> None:
    """Content that was held for a slow reader outlives the connection; the error comes after it."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(MIB))
        await peer.gone()

    async with connected(script) as (connection, _):
        connection.send(REQUEST)
        await connection.head(soon())
        await until(lambda: connection._paused)
        connection.abort()
        await asyncio.wait_for(asyncio.shield(connection.lost), 5)

        assert len(await connection.read(soon())) > HIGH_WATER
        with pytest.raises(ExchangeBroken):
            await connection.read(soon())


@on_both_loops
async def test_nothing_is_sent_on_a_closed_connection() -> None:
    """A connection that closed before the write says for certain that nothing was sent."""

    async def script(peer: Peer) -> None:
        peer.reset()

    async with connected(script) as (connection, _):
        await asyncio.wait_for(asyncio.shield(connection.lost), 5)
        with pytest.raises(ConnectFailed) as caught:
            connection.send(REQUEST)

        assert (caught.value.sent, caught.value.received) == (False, False)
        assert not connection.finish()


@on_both_loops
async def test_content_before_a_fault_is_delivered() -> None:
    """A stream shows what came in good order, then the error, and the error again."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(CHUNKED + b"2\r\nhi\r\n")
        await until(lambda: connection._response.buffered > 0)
        peer.send(b"junk\r\n")
        await peer.gone()

    async with connected(script) as (connection, _):
        connection.send(REQUEST)
        await connection.head(soon())
        await until(lambda: connection._error is not None)

        assert await connection.read(soon()) == b"hi"
        for _ in range(2):
            with pytest.raises(MalformedResponse):
                await connection.read(soon())


@on_both_loops
async def test_an_early_answer_ends_the_connection() -> None:
    """An upstream that answers before it has read the request gets no second one behind its rest."""

    async def script(peer: Peer) -> None:
        peer.send(OK)
        await peer.writer.wait_closed()

    async with connected(script) as (connection, _):
        connection.send(b"x" * 10 * MIB)

        assert (await connection.head(soon()))[0] == 200
        assert await content(connection) == b"ok"
        assert not connection.finish()
        await asyncio.wait_for(asyncio.shield(connection.lost), 5)


@on_both_loops
@pytest.mark.parametrize("is_read", [False, True], ids=["unread", "read"])
async def test_bytes_after_the_answer_close_the_connection(is_read: bool) -> None:
    """An answer stays good when more comes after it; the connection does not, read or not."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(OK)
        await until(lambda: connection._response.ended)
        peer.send(OK)
        await peer.gone()

    async with connected(script) as (connection, server):
        connection.send(REQUEST)
        await connection.head(soon())
        if not is_read:
            await asyncio.wait_for(asyncio.shield(connection.lost), 5)

        assert await content(connection) == b"ok"
        assert connection.finish() is is_read
        await until(lambda: not server.peers)
        assert not connection.is_idle_and_clean()


@on_both_loops
async def test_an_unfinished_exchange_closes_the_connection() -> None:
    """A caller leaves by `finish` before the end of the response."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(SIZED + b"h")
        await peer.gone()

    async with connected(script) as (connection, server):
        connection.send(REQUEST)
        await connection.head(soon())

        assert not connection.finish()
        await until(lambda: not server.peers)


@on_both_loops
async def test_content_nobody_took_closes_the_connection() -> None:
    """A complete answer that was not read to its end is not a finished exchange."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(OK)
        await peer.gone()

    async with connected(script) as (connection, _):
        connection.send(REQUEST)
        await connection.head(soon())
        await until(lambda: connection._response.ended)

        assert not connection.finish()

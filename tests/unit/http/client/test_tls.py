from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from support.scripted_upstream import Certificates, certificates, on_both_loops, until

from proxy.errors import ExchangeBroken, TransportError
from proxy.http.client.connection import Connection
from proxy.http.client.tls import secure, tls_context

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
UNBOUNDED = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("tls"))


class Wire:
    """The server's end of a TLS session with the ciphertext in its hands, blocking, for use in a thread."""

    def __init__(self, plain: socket.socket, context: ssl.SSLContext) -> None:
        self.plain = plain
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._drive(self._session.do_handshake)

    def receive(self) -> bytes:
        received: list[bytes] = []
        self._drive(lambda: received.append(self._session.read(65536)))
        return received[0]

    def sealed(self, content: bytes) -> bytes:
        """Returns *content* as TLS records, not yet sent."""
        self._session.write(content)
        return self._outgoing.read()

    def send(self, content: bytes) -> None:
        self.plain.sendall(self.sealed(content))

    def goodbye(self) -> bytes:
        with suppress(ssl.SSLWantReadError):
            self._session.unwrap()
        return self._outgoing.read()

    def _drive(self, step: Callable[[], object]) -> None:
        while True:
            try:
                step()
            except ssl.SSLWantReadError:
                self.plain.sendall(self._outgoing.read())
                self._incoming.write(self.plain.recv(65536))
            else:
                break
        self.plain.sendall(self._outgoing.read())


Script = Callable[[Wire], None]


@asynccontextmanager
async def connected(ours: Certificates, script: Script) -> AsyncIterator[Connection]:
    """A connection to a server whose one session runs *script* in a thread; both are closed at the end."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener.accept()[0] as plain:
            plain.settimeout(5)
            script(Wire(plain, ours.server))

    thread = threading.Thread(target=serve)
    thread.start()
    loop = asyncio.get_running_loop()
    client = socket.socket()
    client.setblocking(False)
    await loop.sock_connect(client, listener.getsockname())
    connection = Connection(max_head=1000)
    await secure(connection, client, tls_context(ours.ca_file), "localhost")
    try:
        yield connection
    finally:
        connection.abort()
        await connection.lost
        thread.join(5)
        listener.close()


def soon(seconds: float = 5.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def content(connection: Connection) -> bytes:
    parts = []
    while part := await connection.read(soon()):
        parts.append(part)
    return b"".join(parts)


async def exchange(connection: Connection) -> bytes:
    connection.send(REQUEST)
    await connection.head(soon())
    return await content(connection)


def said_goodbye(wire: Wire) -> None:
    wire.receive()
    wire.plain.sendall(wire.sealed(UNBOUNDED + b"hello") + wire.goodbye())


def was_cut(wire: Wire) -> None:
    wire.receive()
    wire.send(UNBOUNDED + b"hello")


@on_both_loops
async def test_a_goodbye_ends_an_unbounded_answer(ours: Certificates) -> None:
    """close_notify is the end of the content."""
    async with connected(ours, said_goodbye) as connection:
        assert await exchange(connection) == b"hello"
        assert not connection.finish()


@on_both_loops
async def test_a_cut_does_not_end_an_unbounded_answer(ours: Certificates) -> None:
    """Anybody on the path can close a TCP connection, only the peer a TLS one (RFC 9112 section 9.8)."""
    async with connected(ours, was_cut) as connection:
        with pytest.raises(ExchangeBroken) as caught:
            await exchange(connection)

        assert (caught.value.sent, caught.value.received) == (True, True)


@on_both_loops
async def test_a_slow_reader_gets_all_of_what_a_gone_peer_sent(ours: Certificates) -> None:
    """The peer writes it all, says goodbye and is gone before the reader asks: nothing may get lost."""
    body = bytes(range(256)) * 2000

    def script(wire: Wire) -> None:
        wire.receive()
        wire.plain.sendall(wire.sealed(UNBOUNDED + body) + wire.goodbye())
        gone.set()

    gone = threading.Event()
    async with connected(ours, script) as connection:
        connection.send(REQUEST)
        await connection.head(soon())
        await until(gone.is_set)

        assert await content(connection) == body


@on_both_loops
async def test_half_a_record_is_not_quiet(ours: Certificates) -> None:
    """An idle connection that holds the beginning of something was not closed, yet cannot be used again."""
    idle = threading.Event()

    def script(wire: Wire) -> None:
        wire.receive()
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        idle.wait(5)
        stray = wire.sealed(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        wire.plain.sendall(stray[:20])
        wire.plain.recv(65536)

    async with connected(ours, script) as connection:
        assert await exchange(connection) == b"ok"
        assert connection.finish()
        assert connection.is_idle_and_clean()
        idle.set()
        assert connection._poll.poll(5000)  # it has come; now the loop may read it
        await until(lambda: not connection._poll.poll(0))

        assert not connection._transport.is_closing()
        assert not connection.is_idle_and_clean()


def corrupt(wire: Wire) -> None:
    wire.receive()
    sealed = bytearray(wire.sealed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
    sealed[-1] ^= 1
    wire.plain.sendall(sealed)
    wire.plain.recv(65536)


def plain_text(wire: Wire) -> None:
    wire.receive()
    wire.plain.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    wire.plain.recv(65536)


@on_both_loops
@pytest.mark.parametrize("script", [corrupt, plain_text])
async def test_what_was_not_sealed_by_the_peer(ours: Certificates, script: Script) -> None:
    """A byte changed or added on the way ends the session, and none of it reaches the answer."""
    async with connected(ours, script) as connection:
        with pytest.raises(ExchangeBroken, match="SSL") as caught:
            await exchange(connection)

        assert (caught.value.sent, caught.value.received) == (True, False)


@on_both_loops
async def test_answers_larger_than_a_record(ours: Certificates) -> None:
    """Records are joined and split at will on the way; the content is the same."""
    body = bytes(range(256)) * 4096

    def script(wire: Wire) -> None:
        wire.receive()
        sealed = wire.sealed(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        for start in range(0, len(sealed), 33_333):
            wire.plain.sendall(sealed[start : start + 33_333])
        wire.plain.recv(1)

    async with connected(ours, script) as connection:
        assert await exchange(connection) == body
        assert connection.finish()


@on_both_loops
async def test_a_session_that_cannot_write(ours: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the session while it seals a request ends the connection, the request counting as sent."""

    def refuse(data: bytes) -> int:
        raise ssl.SSLError("no more records")

    async with connected(ours, lambda wire: None) as connection:
        monkeypatch.setattr(connection._transport, "_session", type("Session", (), {"write": staticmethod(refuse)}))
        with pytest.raises(TransportError) as caught:
            await exchange(connection)

        assert caught.value.sent

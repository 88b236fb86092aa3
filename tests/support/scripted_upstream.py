"""An upstream that does exactly what a test scripts, byte by byte, over real sockets.

And tests run on both loops.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme
import uvloop

Test = Callable[..., Coroutine[None, None, None]]

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Peer:
    """One accepted connection, seen from the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(self) -> bytes:
        """Reads one whole request. Raises asyncio.IncompleteReadError when the client is gone."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        _, _, length = head.lower().partition(b"content-length: ")
        return head + await self.reader.readexactly(int(length.split(b"\r\n")[0] or 0))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def reset(self) -> None:
        """Closes with RST instead of FIN."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Returns when the client has closed or reset; bytes that still come are dropped."""
        with suppress(ConnectionResetError):
            while await self.reader.read(65536):
                pass


@dataclass
class Recording:
    """An upstream that answers every request with *body*, and takes all that is said to it down."""

    body: bytes
    requests: list[bytes] = field(default_factory=list)

    async def __call__(self, peer: Peer) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(self.body)
        while True:
            self.requests.append(await peer.request())
            peer.send(head + self.body)


Script = Callable[[Peer], Awaitable[None]]


@dataclass
class ScriptedServer:
    """State for a test to check. `unmet` holds errors of a script other than the client's disconnect."""

    port: int
    scheme: str
    accepted: int = 0
    peers: set[Peer] = field(default_factory=set)
    unmet: list[BaseException] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.port}"


@asynccontextmanager
async def serve(script: Script, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[ScriptedServer]:
    """Runs *script* for each connection and closes it after; a script that fails fails the test."""
    tasks: set[asyncio.Task[None]] = set()

    async def run(peer: Peer) -> None:
        try:
            await script(peer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        except (AssertionError, ValueError) as error:
            server.unmet.append(error)
        finally:
            server.peers.discard(peer)
            peer.writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        server.accepted += 1
        server.peers.add(peer)
        task = asyncio.get_running_loop().create_task(run(peer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    server = ScriptedServer(listener.sockets[0].getsockname()[1], "http" if tls is None else "https")
    try:
        yield server
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert server.unmet == []


@dataclass(frozen=True)
class Certificates:
    """A temporary certificate authority, and a server context with its certificate for localhost."""

    ca_file: str
    server: ssl.SSLContext
    authority: trustme.CA


def certificates(home: Path) -> Certificates:
    home.mkdir(exist_ok=True)
    authority = trustme.CA()
    ca_file = home / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    return Certificates(str(ca_file), server_context(authority, "localhost"), authority)


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Waits for *condition*, in the loop's turns; fails after *seconds*."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        await asyncio.sleep(0.001)


def on_both_loops(test: Test) -> Callable[..., None]:
    """Runs an async test on uvloop, as in production, and on asyncio's own loop."""

    @functools.wraps(test)
    def run(*, loop_factory: Callable[[], asyncio.AbstractEventLoop], **arguments: object) -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(test(**arguments))

    own = list(inspect.signature(test).parameters.values())
    loop = inspect.Parameter("loop_factory", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = inspect.Signature([*own, loop])  # type: ignore[attr-defined]  # pytest reads it
    loops = [uvloop.new_event_loop, asyncio.new_event_loop]
    return pytest.mark.parametrize("loop_factory", loops, ids=["uvloop", "asyncio"])(run)

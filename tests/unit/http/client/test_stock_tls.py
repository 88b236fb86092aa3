"""The faults of the event loops' own TLS for which `proxy/http/client/tls.py` exists.

A test that fails here is good news: the loop is mended, and the module can be weighed again.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import ssl
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

import pytest
import uvloop
from support.raw_http import PATIENCE
from support.scripted_upstream import Certificates, certificates

from proxy.http.client.tls import tls_context

SIZE = 50_000  # what one read of the socket can bring


class Reader(asyncio.Protocol):
    """Counts bytes, and pauses the transport at the first of them where it is *patient*."""

    def __init__(self, *, patient: bool) -> None:
        self.received = 0
        self.paused = asyncio.Event()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._patient = patient

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if self._patient and not self.paused.is_set():
            self.transport.pause_reading()
            self.paused.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


@contextmanager
def serving(
    certificate: Certificates, end: Callable[[ssl.SSLSocket], None], go: threading.Event | None = None
) -> Iterator[int]:
    """Sends one byte to a client over TLS, waits for *go*, sends SIZE bytes, and calls *end*."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            plain, _ = listening.accept()
            with certificate.server.wrap_socket(plain, server_side=True) as peer:
                peer.sendall(b"a")
                if go is not None:
                    go.wait(PATIENCE)
                peer.sendall(b"a" * SIZE)
                end(peer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(PATIENCE)


async def connect(port: int, certificate: Certificates, *, patient: bool) -> Reader:
    context = tls_context(certificate.ca_file)
    _, reader = await asyncio.get_running_loop().create_connection(
        lambda: Reader(patient=patient), "127.0.0.1", port, ssl=context, server_hostname="localhost"
    )
    return reader


async def all_read(transport: asyncio.Transport) -> None:
    """Returns when the event loop has read the socket to its end, and has seen the end."""
    async with asyncio.timeout(PATIENCE):
        while (waiting := transport.get_extra_info("socket")) is not None and unread(waiting.fileno()):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)  # an end that is not yet seen cannot be waited for from here


def unread(descriptor: int) -> int:
    """Returns the bytes in the kernel's buffer."""
    if descriptor < 0:
        return 0
    return int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)), sys.byteorder)


def close_with_notice(peer: ssl.SSLSocket) -> None:
    peer.settimeout(0.2)
    with suppress(TimeoutError, OSError):  # the client does not answer while it does not read
        peer.unwrap()


def cut(peer: ssl.SSLSocket) -> None:
    """Ends the TCP connection without a close_notify."""
    peer.shutdown(socket.SHUT_RDWR)


@pytest.mark.serial
def test_uvloop_loses_what_a_paused_reader_has_not_read(tmp_path: Path) -> None:
    """After the peer's close the rest does not arrive (MagicStack/uvloop#661)."""

    go, closed = threading.Event(), threading.Event()

    async def read(port: int) -> int:
        reader = await connect(port, certificate, patient=True)
        await reader.paused.wait()
        go.set()
        await asyncio.to_thread(closed.wait, PATIENCE)
        await all_read(reader.transport)
        reader.transport.resume_reading()
        async with asyncio.timeout(PATIENCE):
            await reader.lost
        return reader.received

    certificate = certificates(tmp_path)

    def end(peer: ssl.SSLSocket) -> None:
        close_with_notice(peer)
        closed.set()

    with serving(certificate, end, go) as port, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(read(port)) < 1 + SIZE


@pytest.mark.serial
def test_asyncio_reports_a_cut_as_a_close(tmp_path: Path) -> None:
    """A protocol cannot tell a truncated answer from a complete one (compare MagicStack/uvloop#385)."""

    async def read(port: int, certificate: Certificates) -> tuple[int, Exception | None]:
        reader = await connect(port, certificate, patient=False)
        async with asyncio.timeout(PATIENCE):
            lost = await reader.lost
        return reader.received, lost

    certificate = certificates(tmp_path)
    with serving(certificate, cut) as port, asyncio.Runner() as runner:
        assert runner.run(read(port, certificate)) == (1 + SIZE, None)

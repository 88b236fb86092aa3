from __future__ import annotations

import asyncio
import gc
import random
import socket
import ssl
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import cast

import pytest
from support.hostile_answers import CHUNKED, MALFORMED, SIZED, WHOLE
from support.scripted_upstream import OK, Certificates, Peer, certificates, on_both_loops, serve, until

from proxy.errors import (
    ConnectFailed,
    ConnectTimedOut,
    DeadlineExceeded,
    ExchangeBroken,
    MalformedResponse,
    PoolExhausted,
    ResponseTooLarge,
    TransportError,
)
from proxy.http.client.client import HttpClient, UpstreamStream
from proxy.http.client.connection import Connection
from proxy.http.client.messages import FieldLines, UpstreamRequest, UpstreamResponse
from proxy.http.client.tls import tls_context
from proxy.http.origin import Origin

GET = UpstreamRequest(b"GET", b"/", FieldLines(()), b"")
SUBMIT = UpstreamRequest(b"POST", b"/fal-ai/x", FieldLines(((b"authorization", b"Key k"),)), b'{"a": 1}')


@asynccontextmanager
async def client(
    url: str,
    *,
    tls: ssl.SSLContext | None = None,
    max_connections: int = 10,
    connect_timeout: float = 5.0,
    acquire_timeout: float = 5.0,
    max_idle: float = 5.0,
) -> AsyncIterator[HttpClient]:
    upstream = HttpClient(
        Origin.parse(url),
        tls=tls,
        max_connections=max_connections,
        connect_timeout=connect_timeout,
        acquire_timeout=acquire_timeout,
        max_idle=max_idle,
        max_head=1000,
    )
    yield upstream
    await upstream.aclose()


async def fetch(
    upstream: HttpClient, request: UpstreamRequest = GET, timeout: float = 5.0, max_body: int = 1000
) -> UpstreamResponse:
    return await upstream.fetch(request, timeout=timeout, max_body=max_body)


# --- its arguments ---


@pytest.mark.parametrize(
    ("text", "scheme", "host", "port", "authority"),
    [
        ("https://queue.fal.run", "https", "queue.fal.run", 443, b"queue.fal.run"),
        ("HTTPS://Queue.FAL.run", "https", "queue.fal.run", 443, b"queue.fal.run"),
        ("https://queue.fal.run:443", "https", "queue.fal.run", 443, b"queue.fal.run"),
        ("https://queue.fal.run:8443", "https", "queue.fal.run", 8443, b"queue.fal.run:8443"),
        ("https://10.0.0.1", "https", "10.0.0.1", 443, b"10.0.0.1"),
        ("https://[2001:DB8::1]", "https", "2001:db8::1", 443, b"[2001:db8::1]"),
        ("http://localhost", "http", "localhost", 80, b"localhost"),
        ("http://127.0.0.1:8000", "http", "127.0.0.1", 8000, b"127.0.0.1:8000"),
        ("http://[::1]:8000", "http", "::1", 8000, b"[::1]:8000"),
    ],
)
def test_an_origin(text: str, scheme: str, host: str, port: int, authority: bytes) -> None:
    """Scheme, host and port; the Host field names the port only where it is not the scheme's own."""
    origin = Origin.parse(text)

    assert (origin.scheme, origin.host, origin.port, origin.authority) == (scheme, host, port, authority)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "queue.fal.run",
        "//queue.fal.run",
        "ftp://queue.fal.run",
        "https://",
        "https:///",
        "https://queue.fal.run/",
        "https://queue.fal.run/x",
        "https://queue.fal.run?x",
        "https://queue.fal.run#x",
        "https://user@queue.fal.run",
        "https://user:pass@queue.fal.run",
        "https://queue.fal.run\\@evil.test",
        "https://queue.fal.run:",
        "https://queue.fal.run:0",
        "https://queue.fal.run:65536",
        "https://queue.fal.run:+80",
        "https://queue.fal.run:x",
        "https://queue.fal.run.",
        "https://.fal.run",
        "https://queue..run",
        "https://-queue.fal.run",
        "https://queue-.fal.run",
        "https://" + "a" * 64 + ".run",
        "https://queue.fal.run\n",
        " https://queue.fal.run",
        "https://queue fal.run",
        "https://queue。fal。run",
        "https://\u212aueue.fal.run",
        "https://qu%65ue.fal.run",
        "https://[::1",
        "https://[]",
        "https://[1.2.3.4]",
        "https://[fe80::1%25eth0]",
        "http://queue.fal.run",
        "http://10.0.0.1",
        "http://0.0.0.0",
        "http://[::]",
        "http://localhost.evil.test",
        "http://127.1",
        "http://2130706433",
    ],
)
def test_not_an_origin(text: str) -> None:
    """Anything that a second parser could read otherwise, and plain text to other machines, is refused."""
    with pytest.raises(ValueError, match=r"."):
        Origin.parse(text)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_tls_goes_with_https(scheme: str) -> None:
    """Neither https without a context nor http with one can be built."""
    with pytest.raises(ValueError, match="TLS"):
        HttpClient(Origin.parse(f"{scheme}://localhost"), tls=None if scheme == "https" else tls_context())


def test_a_request_as_it_is_sent() -> None:
    """Host first (RFC 9110 section 7.2), then what was given, then Content-Length; nothing else is added."""
    request = UpstreamRequest(b"POST", b"/a/b?logs=1", FieldLines(((b"authorization", b"Key k"), (b"x-a", b""))), b"{}")

    assert request.message(b"h:1") == (
        b"POST /a/b?logs=1 HTTP/1.1\r\nhost: h:1\r\nauthorization: Key k\r\nx-a: \r\ncontent-length: 2\r\n\r\n{}"
    )


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [
        (b"GET", b"", None),
        (b"DELETE", b"", None),
        (b"GET", b"x", b"1"),
        (b"POST", b"", b"0"),
        (b"PUT", b"", b"0"),
        (b"PATCH", b"", b"0"),
    ],
)
def test_the_length_of_a_request(method: bytes, body: bytes, length: bytes | None) -> None:
    """A method that is expected to carry content says so when it has none (RFC 9110 section 8.6)."""
    message = UpstreamRequest(method, b"/", FieldLines(()), body).message(b"h")

    assert (b"content-length: " + length in message) if length else (b"content-length" not in message)


OWNED = [b"Host", b"connection", b"Content-Length", b"Transfer-Encoding", b"upgrade", b"TE", b"Trailer", b"Expect"]
BAD_REQUESTS: dict[str, tuple[bytes, bytes, tuple[tuple[bytes, bytes], ...]]] = {
    "method lower case": (b"get", b"/", ()),
    "method with space": (b"GET /", b"/", ()),
    "method with line end": (b"GET / HTTP/1.1\r\nx: y\r\n\r\nGET", b"/", ()),
    "HEAD": (b"HEAD", b"/", ()),
    "CONNECT": (b"CONNECT", b"/", ()),
    "no method": (b"", b"/", ()),
    "no path": (b"GET", b"", ()),
    "absolute path": (b"GET", b"http://evil.test/", ()),
    "asterisk": (b"GET", b"*", ()),
    "fragment": (b"GET", b"/#a", ()),
    **{
        f"path with {byte!r}": (b"GET", b"/a" + byte + b"b", ()) for byte in (b"\r", b"\n", b"\0", b" ", b"\t", b"\xe9")
    },
    "path with version": (b"GET", b"/ HTTP/1.1\r\nx: y\r\n\r\n", ()),
    **{
        f"value with {byte!r}": (b"GET", b"/", ((b"x", b"a" + byte + b"b"),)) for byte in (b"\r", b"\n", b"\0", b"\xe9")
    },
    "value with a field": (b"GET", b"/", ((b"x", b"a\r\ny: b"),)),
    "value with a request": (b"GET", b"/", ((b"x", b"a\r\n\r\nGET / HTTP/1.1\r\ny: b"),)),
    "value ends in line end": (b"GET", b"/", ((b"x", b"a\r\n"),)),
    **{
        f"name with {byte!r}": (b"GET", b"/", ((b"x" + byte + b"y", b"a"),))
        for byte in (b"\r", b"\n", b"\0", b" ", b":")
    },
    "name with a field": (b"GET", b"/", ((b"a: b\r\nc", b"d"),)),
    "no name": (b"GET", b"/", ((b"", b"a"),)),
    **{f"owned {name!r}": (b"GET", b"/", ((b"x", b"y"), (name, b"1"))) for name in OWNED},
}


@pytest.mark.parametrize(("method", "path", "headers"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_a_request_that_could_change_the_framing(
    method: bytes, path: bytes, headers: tuple[tuple[bytes, bytes], ...]
) -> None:
    """No such request can exist."""
    with pytest.raises(ValueError, match="not"):
        UpstreamRequest(method, path, FieldLines(headers), b"")


def test_a_request_keeps_its_secrets() -> None:
    """Neither the key nor the prompt is in its repr."""
    shown = repr(UpstreamRequest(b"POST", b"/p", FieldLines(((b"authorization", b"Key canary-1"),)), b"canary-2"))

    assert "/p" in shown
    assert "canary" not in shown


def test_tls_context_ignores_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Session keys are not written to SSLKEYLOGFILE; verification and TLS 1.2 are not negotiable."""
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    context = tls_context()

    assert not context.keylog_filename
    assert [context.verify_mode.name, context.minimum_version.name] == ["CERT_REQUIRED", "TLSv1_2"]
    assert context.check_hostname
    assert context.cert_store_stats()["x509_ca"] > 0


# --- what it does ---


@on_both_loops
async def test_requests_share_a_connection() -> None:
    """The upstream sees exactly the bytes of the message, each once, on one kept connection."""
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        while True:
            seen.append(await peer.request())
            peer.send(b"HTTP/1.1 202 Accepted\r\nX-Id: 1\r\nContent-Length: %d\r\n\r\n%d" % (1, len(seen)))

    async with serve(script) as server, client(server.url) as upstream:
        answers = [await fetch(upstream, request) for request in (GET, SUBMIT, GET)]

        host = b"localhost:%d" % server.port
        assert seen == [GET.message(host), SUBMIT.message(host), GET.message(host)]
        assert answers == [
            UpstreamResponse(202, ((b"x-id", b"1"), (b"content-length", b"1")), body) for body in (b"1", b"2", b"3")
        ]
        assert (server.accepted, upstream.active, upstream.idle) == (1, 0, 1)
    await until(lambda: not server.peers)


@on_both_loops
@pytest.mark.parametrize(("raw", "status", "content", "keep_alive"), WHOLE.values(), ids=WHOLE)
async def test_a_sound_answer(raw: bytes, status: int, content: bytes, keep_alive: bool) -> None:
    """A valid response arrives whole, and the connection stays open exactly if the response allows it."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(raw)
        await peer.gone()

    async with serve(script) as server, client(server.url) as upstream:
        answer = await fetch(upstream)

        assert (answer.status, answer.body) == (status, content)
        assert upstream.idle == keep_alive


@on_both_loops
@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_answer(raw: bytes) -> None:
    """The request counts as sent and answered, and the connection is closed at once."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(raw)
        await peer.gone()

    async with serve(script) as server, client(server.url) as upstream:
        with pytest.raises(MalformedResponse) as caught:
            await fetch(upstream, SUBMIT)

        assert (caught.value.sent, caught.value.received) == (True, True)
        assert (upstream.active, upstream.idle) == (0, 0)
        await until(lambda: not server.peers)


TOO_LARGE = {
    "head": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 1000,
    "whole head": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: " + b"a" * 1000 + b"\r\n\r\n",
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + b"a" * 1001,
    "declared": b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\na",
    "chunks": CHUNKED + b"64\r\n%b\r\n" % (b"a" * 100) * 11,
    "until close": b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 1001,
}


@on_both_loops
@pytest.mark.parametrize("raw", TOO_LARGE.values(), ids=TOO_LARGE)
async def test_an_answer_over_its_cap(raw: bytes) -> None:
    """Head and body have caps; what goes beyond closes the connection."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(raw)
        await peer.gone()

    async with serve(script) as server, client(server.url) as upstream:
        with pytest.raises(ResponseTooLarge) as caught:
            await fetch(upstream, SUBMIT)

        assert (caught.value.sent, caught.value.received) == (True, True)
        await until(lambda: not server.peers)


@on_both_loops
async def test_a_body_of_exactly_its_cap() -> None:
    """The cap is the largest size allowed."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"a" * 1000)

    async with serve(script) as server, client(server.url) as upstream:
        assert len((await fetch(upstream)).body) == 1000


@on_both_loops
async def test_a_redirect_is_an_answer() -> None:
    """A redirect is returned, and not followed."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(b"HTTP/1.1 307 Go\r\nLocation: %b/other\r\nContent-Length: 0\r\n\r\n" % server.url.encode())
        await peer.gone()

    async with serve(script) as server, client(server.url) as upstream:
        assert (await fetch(upstream)).status == 307
        assert server.accepted == 1


@on_both_loops
async def test_proxy_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment cannot send traffic, and with it the key, elsewhere."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(OK)

    async with serve(script) as server, serve(script) as canary, client(server.url) as upstream:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, canary.url)
            monkeypatch.setenv(name.upper(), canary.url)

        assert (await fetch(upstream)).body == b"ok"
        assert canary.accepted == 0


@on_both_loops
async def test_an_answer_that_ends_with_the_connection() -> None:
    """Without a length the content goes on until the upstream closes; a reset is no such end."""
    endings: Iterator[Callable[[Peer], None]] = iter([lambda peer: None, Peer.reset])

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await peer.writer.drain()
        next(endings)(peer)

    async with serve(script) as server, client(server.url) as upstream:
        assert (await fetch(upstream)).body == b"hello"
        with pytest.raises(ExchangeBroken):
            await fetch(upstream)


# --- TLS ---


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("tls"))


@on_both_loops
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
async def test_over_tls(ours: Certificates, tmp_path: Path, version: ssl.TLSVersion) -> None:
    """Requests share one verified session that speaks HTTP/1.1; large bodies pass both ways."""
    spoken: list[str | None] = []
    own = certificates(tmp_path)
    own.server.minimum_version = own.server.maximum_version = version
    own.server.set_alpn_protocols(["h2", "http/1.1"])

    async def script(peer: Peer) -> None:
        spoken.append(peer.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        while True:
            body = (await peer.request()).partition(b"\r\n\r\n")[2]
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async with serve(script, tls=own.server) as server, client(server.url, tls=tls_context(own.ca_file)) as upstream:
        for size in (0, 5, 3_000_000):
            body = random.randbytes(size)
            answer = await fetch(upstream, UpstreamRequest(b"POST", b"/", FieldLines(()), body), max_body=size)
            assert answer.body == body

        assert spoken == ["http/1.1"]
        assert upstream.idle == 1
    await until(lambda: not server.peers)


@on_both_loops
async def test_a_large_request_nobody_reads_over_tls(ours: Certificates) -> None:
    """The deadline holds although the write never ends."""

    async def script(peer: Peer) -> None:
        await peer.writer.wait_closed()

    async with (
        serve(script, tls=ours.server) as server,
        client(server.url, tls=tls_context(ours.ca_file)) as upstream,
    ):
        with pytest.raises(DeadlineExceeded) as caught:
            await fetch(upstream, UpstreamRequest(b"POST", b"/", FieldLines(()), bytes(10_000_000)), timeout=0.3)

        assert (caught.value.sent, caught.value.received) == (True, False)
        assert (upstream.active, upstream.idle) == (0, 0)


# --- kept connections that are dead ---


class Blocking:
    """Upstream in a thread: what it does first reaches the kernel before the loop looks again."""

    def __init__(self, end: Callable[[socket.socket], None]) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.requests: list[bytes] = []
        self._now = threading.Event()
        self._end = end
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end_first(self, upstream: HttpClient) -> None:
        """Returns when it shows on the socket of *upstream*; blocks the loop meanwhile, which is the point."""
        self._now.set()
        assert upstream._pool._idle[0]._poll.poll(5000)

    def join(self) -> None:
        self._thread.join(5)
        self.listener.close()

    def _run(self) -> None:
        first, _ = self.listener.accept()
        self._answer(first, b"1")
        self._now.wait(5)
        self._end(first)
        second, _ = self.listener.accept()
        self._answer(second, b"2")
        for connection in (first, second):
            connection.close()

    def _answer(self, connection: socket.socket, body: bytes) -> None:
        self.requests.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + body)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()


POISONED = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"


def poison_and_close(connection: socket.socket) -> None:
    connection.sendall(POISONED)
    connection.close()


DEATHS: dict[str, Callable[[socket.socket], None]] = {
    "closed": socket.socket.close,
    "half closed": lambda connection: connection.shutdown(socket.SHUT_WR),
    "reset": reset,
    "one byte": lambda connection: connection.sendall(b"\n"),
    "another answer": lambda connection: connection.sendall(POISONED),
    "another answer, closed": poison_and_close,
}


@on_both_loops
@pytest.mark.parametrize("looked", [False, True], ids=["unseen", "seen"])
@pytest.mark.parametrize("end", DEATHS.values(), ids=DEATHS)
async def test_a_dead_kept_connection_is_never_used(end: Callable[[socket.socket], None], looked: bool) -> None:
    """A submit goes out once, on a fresh connection, and gets its own answer; seen by the loop yet or not."""
    server = Blocking(end)
    async with client(server.url) as upstream:
        first = await fetch(upstream)
        server.end_first(upstream)
        if looked:
            await until(lambda: upstream.idle == 0)
        second = await fetch(upstream, SUBMIT)

        assert (first.body, second.body) == (b"1", b"2")
    server.join()
    host = server.url.removeprefix("http://").encode()
    assert server.requests == [GET.message(host), SUBMIT.message(host)]


@on_both_loops
@pytest.mark.parametrize("end", [lambda peer: None, Peer.reset], ids=["closes", "resets"])
async def test_a_kept_connection_that_dies_on_a_request(end: Callable[[Peer], None]) -> None:
    """Bytes were sent, so the outcome is unknown, even if they were hardly read; nothing is repeated."""
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.request())
        peer.send(OK)
        seen.append(await peer.request())
        end(peer)

    async with serve(script) as server, client(server.url) as upstream:
        await fetch(upstream)
        with pytest.raises(ExchangeBroken) as caught:
            await fetch(upstream, SUBMIT)

        assert (caught.value.sent, caught.value.received) == (True, False)
        assert (len(seen), server.accepted) == (2, 1)


@on_both_loops
@pytest.mark.parametrize("header", [b"", b"Connection: close\r\n"], ids=["unannounced", "announced"])
async def test_an_upstream_that_closes_after_each_answer(header: bytes) -> None:
    """Every request finds a connection of its own."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n%bContent-Length: 1\r\n\r\n1" % header)

    async with serve(script) as server, client(server.url) as upstream:
        for _ in range(20):
            assert (await fetch(upstream, SUBMIT)).body == b"1"
            if not header:
                await until(lambda: upstream.idle == 0)

        assert server.accepted == 20


# --- time ---


@on_both_loops
async def test_a_full_pool() -> None:
    """A wait for a connection fails within its limit, nothing sent; the next one is served when it can be."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await release.wait()
            peer.send(OK)

    release = asyncio.Event()
    async with serve(script) as server, client(server.url, max_connections=2, acquire_timeout=0.05) as upstream:
        busy = [asyncio.create_task(fetch(upstream)) for _ in range(2)]
        await until(lambda: upstream.active == 2)
        with pytest.raises(PoolExhausted) as caught:
            await fetch(upstream, SUBMIT)
        release.set()
        await asyncio.gather(*busy)

        assert (caught.value.sent, caught.value.received) == (False, False)
        assert (await fetch(upstream)).body == b"ok"
        assert server.accepted == 2


@contextmanager
def silent_listener() -> Iterator[str]:
    """Listener whose queue is full, so that the kernel drops every further SYN."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for filler in fillers:
            filler.close()


@on_both_loops
@pytest.mark.parametrize(
    ("connect_timeout", "timeout", "error"), [(0.05, 5, ConnectTimedOut), (5, 0.05, DeadlineExceeded)]
)
async def test_an_upstream_that_does_not_accept(
    connect_timeout: float, timeout: float, error: type[TransportError]
) -> None:
    """Connecting ends by the shorter limit, nothing sent."""
    with silent_listener() as url:
        async with client(url, connect_timeout=connect_timeout) as upstream:
            with pytest.raises(error) as caught:
                await fetch(upstream, SUBMIT, timeout=timeout)

            assert (caught.value.sent, upstream.active) == (False, 0)


@on_both_loops
async def test_an_upstream_that_does_not_shake_hands(ours: Certificates) -> None:
    """The TLS handshake is a part of connecting."""
    async with serve(Peer.gone) as server:
        url = server.url.replace("http", "https")
        async with client(url, tls=tls_context(ours.ca_file), connect_timeout=0.1) as upstream:
            with pytest.raises(ConnectFailed):
                await fetch(upstream, SUBMIT)
        await until(lambda: not server.peers)


@on_both_loops
async def test_an_upstream_that_refuses() -> None:
    """A refused connection is a connect failure: nothing was sent, and the slot is free."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with client(f"http://127.0.0.1:{port}", max_connections=1) as upstream:
        for _ in range(2):
            with pytest.raises(ConnectFailed) as caught:
                await fetch(upstream, SUBMIT)

            assert (caught.value.sent, upstream.active) == (False, 0)


@on_both_loops
@pytest.mark.parametrize(
    ("start", "received"),
    [(b"", False), (b"HTTP/1.1 200", True), (SIZED + b"h", True)],
    ids=["no answer", "half a head", "half a body"],
)
@pytest.mark.parametrize("stays_open", [False, True], ids=["fresh", "kept"])
async def test_an_upstream_that_stops(start: bytes, received: bool, stays_open: bool) -> None:
    """The deadline ends it at any stage, says how far it got, and closes the connection."""

    async def script(peer: Peer) -> None:
        if stays_open:
            await peer.request()
            peer.send(OK)
        await peer.request()
        peer.send(start)
        await peer.gone()

    async with serve(script) as server, client(server.url) as upstream:
        if stays_open:
            await fetch(upstream)
        with pytest.raises(DeadlineExceeded) as caught:
            await fetch(upstream, SUBMIT, timeout=0.3)

        assert (caught.value.sent, caught.value.received) == (True, received)
        assert (upstream.active, upstream.idle) == (0, 0)
        await until(lambda: not server.peers)


@on_both_loops
async def test_a_caller_who_leaves_closes_the_connection() -> None:
    """Cancelled in the middle of an answer, the exchange ends for the upstream too, and its slot is free."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(SIZED)
        await peer.gone()

    async with serve(script) as server, client(server.url, max_connections=1) as upstream:
        leaving = asyncio.create_task(fetch(upstream))
        await until(lambda: bool(server.peers) and upstream.active == 1)
        leaving.cancel()
        await asyncio.wait([leaving])

        assert leaving.cancelled()
        assert (upstream.active, upstream.idle) == (0, 0)
        await until(lambda: not server.peers)


@on_both_loops
async def test_closing_ends_what_is_under_way() -> None:
    """An exchange in flight breaks, as sent; nothing can be started after it."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with serve(script) as server, client(server.url) as upstream:
        running = asyncio.create_task(fetch(upstream))
        await until(lambda: bool(server.peers))
        await asyncio.sleep(0.01)
        await upstream.aclose()

        with pytest.raises(ExchangeBroken):
            await running
        with pytest.raises(PoolExhausted):
            await fetch(upstream)
        await until(lambda: not server.peers)


# --- streams ---

EVENTS = [b"data: %d\n\n" % number for number in range(5)]


@on_both_loops
@pytest.mark.parametrize("how", ["answered", "cut short", "late", "left"])
async def test_a_connection_leaves_nothing_for_the_collector(how: str) -> None:
    """No circle of references is left of it, nor of its error: under a steady load they would add up."""

    async def script(peer: Peer) -> None:
        await peer.request()
        asked.set()
        if how == "answered":
            peer.send(OK)
        if how != "cut short":
            await peer.gone()

    asked = asyncio.Event()
    gc.collect()
    gc.disable()
    try:
        others = {id(connection) for connection in connections()}
        async with serve(script) as server, client(server.url) as upstream:
            asking = asyncio.create_task(fetch(upstream, timeout=0.05 if how == "late" else 5.0))
            await asked.wait()
            (left,) = [weakref.ref(found._response) for found in connections() if id(found) not in others]
            if how == "left":
                asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            if how != "answered":
                await until(lambda: not server.peers)
            del asking
        await until(lambda: left() is None)
    finally:
        gc.enable()


def connections() -> list[Connection]:
    return [one for one in gc.get_objects() if isinstance(one, Connection)]


async def drain(stream: UpstreamStream, into: list[bytes]) -> None:
    async for part in stream:
        into.append(part)  # noqa: PERF401  what came before an error counts


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


@on_both_loops
async def test_a_stream_delivers_as_it_comes() -> None:
    """Each event reaches the reader before the next one is sent; the connection is kept after the last."""
    read = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(CHUNKED)
        for event in EVENTS:
            peer.send(chunk(event))
            await read.wait()
            read.clear()
        peer.send(b"0\r\n\r\n")
        await peer.gone()

    async with serve(script) as server, client(server.url) as upstream:
        received = []
        async with upstream.stream(GET, timeout_head=5) as stream:
            assert (stream.status, stream.headers) == (200, ((b"transfer-encoding", b"chunked"),))
            async for part in stream:
                received.append(part)
                read.set()
            assert upstream.active == 1

        assert received == EVENTS
        assert (upstream.active, upstream.idle) == (0, 1)


@on_both_loops
async def test_leaving_a_stream_closes_it() -> None:
    """A reader who stops early ends the upstream's work as well."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(CHUNKED + chunk(EVENTS[0]))
        await peer.gone()

    async with serve(script) as server, client(server.url) as upstream:
        async with upstream.stream(GET, timeout_head=5) as stream:
            assert await anext(stream) == EVENTS[0]

        assert (upstream.active, upstream.idle) == (0, 0)
        await until(lambda: not server.peers)


@on_both_loops
async def test_a_stream_without_a_head_meets_its_deadline() -> None:
    """Up to the head a stream has the limits of any other exchange."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with serve(script) as server, client(server.url) as upstream:
        with pytest.raises(DeadlineExceeded) as caught:
            async with upstream.stream(GET, timeout_head=0.05):
                pytest.fail("there was no head")

        assert (caught.value.sent, caught.value.received, upstream.active) == (True, False, 0)
        await until(lambda: not server.peers)


@on_both_loops
async def test_a_stream_may_outlast_the_deadline_of_its_head_but_not_be_silent() -> None:
    """Only silence between chunks is limited, and counted from the last read on."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(CHUNKED)
        for event in EVENTS:
            await asyncio.sleep(0.05)
            peer.send(chunk(event))
        await peer.gone()

    async with serve(script) as server, client(server.url) as upstream:
        received: list[bytes] = []
        async with upstream.stream(GET, timeout_head=0.1, timeout_idle=0.15) as stream:
            with pytest.raises(DeadlineExceeded) as caught:
                await drain(stream, received)

        assert received == EVENTS
        assert (caught.value.sent, caught.value.received) == (True, True)


@on_both_loops
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
async def test_a_stream_nobody_reads_holds_the_upstream_back(ours: Certificates, secure: bool) -> None:
    """A slow reader has a few buffers waiting, not the stream."""
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            peer.send(bytes(65536))
            await peer.writer.drain()
            await asyncio.sleep(0)  # drain does not yield by itself, least of all when the peer is gone
            sent += 65536

    tls = tls_context(ours.ca_file) if secure else None
    async with (
        serve(script, tls=ours.server if secure else None) as server,
        client(server.url, tls=tls) as upstream,
        upstream.stream(GET, timeout_head=5) as stream,
    ):
        unread = -1
        while unread != sent:  # until the kernel's buffers are full and the server's writer blocks
            unread = sent
            await asyncio.sleep(0.05)
        assert unread < 20_000_000
        read = 0
        while read < unread + 1_000_000:
            read += len(await anext(stream))

        assert sent > unread


# --- many at once ---


class Echo(asyncio.Protocol):
    """Answers each request with its path, now and then late, in pieces, or with the end of the connection."""

    open_connections = 0

    def __init__(self, seed: random.Random, *, faults: float) -> None:
        self._random = seed
        self._faults = faults

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        Echo.open_connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        Echo.open_connections -= 1

    def data_received(self, data: bytes) -> None:
        path = data.split(b" ", 2)[1]
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path)
        kind = self._random.random() / self._faults if self._faults else 1.0
        if kind < 0.2:
            self._transport.close()
        elif kind < 0.4:
            self._transport.write(answer)
            self._transport.close()
        elif kind < 0.6:
            self._write(answer[:30])
            asyncio.get_running_loop().call_later(0.001, self._write, answer[30:])
        elif kind < 1.0:
            asyncio.get_running_loop().call_later(self._random.random() / 200, self._write, answer)
        else:
            self._write(answer)

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)


@asynccontextmanager
async def echo(*, faults: float, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    seed = random.Random(20261123)
    Echo.open_connections = 0
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Echo(seed, faults=faults), "127.0.0.1", 0, ssl=tls)
    yield f"{'https' if tls else 'http'}://localhost:{server.sockets[0].getsockname()[1]}"
    server.close()
    await until(lambda: Echo.open_connections == 0)


async def storm(upstream: HttpClient, count: int, seed: random.Random) -> dict[str, int]:
    """Sends *count* requests of 40 callers, of whom many leave at random; each answer must be its own."""
    outcomes = {"answered": 0, "cancelled": 0, "broken": 0}
    numbers = iter(range(count))

    async def caller() -> None:
        loop = asyncio.get_running_loop()
        for number in numbers:
            task = loop.create_task(fetch(upstream, UpstreamRequest(b"GET", b"/%d" % number, FieldLines(()), b"")))
            if seed.random() < 0.5:
                loop.call_later(seed.random() / 200, task.cancel)
            elif seed.random() < 0.2:
                loop.call_soon(task.cancel)
            await asyncio.wait([task])
            if task.cancelled():
                outcomes["cancelled"] += 1
            elif task.exception() is not None:
                assert isinstance(task.exception(), ExchangeBroken)
                outcomes["broken"] += 1
            else:
                assert task.result().body == b"/%d" % number
                outcomes["answered"] += 1

    await asyncio.gather(*(caller() for _ in range(40)))
    return outcomes


@on_both_loops
@pytest.mark.parametrize(("secure", "count"), [(False, 6_000), (True, 1_500)], ids=["http", "https"])
async def test_no_slot_is_ever_lost(ours: Certificates, secure: bool, count: int) -> None:
    """After 6,000 requests, random cancellations and faults on a pool of 10 all is free again.

    Every answer was its caller's own; the server sees no connection that the pool does not count as idle.
    """
    tls = tls_context(ours.ca_file) if secure else None
    async with (
        echo(faults=0.2, tls=ours.server if secure else None) as url,
        client(url, tls=tls, max_connections=10, acquire_timeout=30) as upstream,
    ):
        outcomes = await storm(upstream, count, random.Random(7))

        assert min(outcomes.values()) > count / 100
        assert (upstream.active, sum(outcomes.values())) == (0, count)
        await until(lambda: Echo.open_connections == upstream.idle)
        again = await asyncio.gather(*(fetch(upstream, retry) for retry in fresh(10)), return_exceptions=True)
        assert sum(isinstance(answer, UpstreamResponse) for answer in again) > 0


def fresh(count: int) -> list[UpstreamRequest]:
    return [UpstreamRequest(b"GET", b"/fresh/%d" % number, FieldLines(()), b"") for number in range(count)]


@on_both_loops
async def test_nobody_gets_the_answer_of_another() -> None:
    """5,000 requests of two users interleaved over 8 connections: each answer carries its own canary."""
    async with echo(faults=0.0) as url, client(url, max_connections=8, acquire_timeout=30) as upstream:
        numbers = iter(range(2500))

        async def user(name: bytes) -> None:
            for number in numbers:
                canary = b"/%b/%d/%d" % (name, number, random.getrandbits(64))
                assert (await fetch(upstream, UpstreamRequest(b"GET", canary, FieldLines(()), b""))).body == canary

        await asyncio.gather(*(user(name) for name in (b"alice", b"bob") for _ in range(16)))

        assert (upstream.active, upstream.idle) == (0, 8)
        assert Echo.open_connections == 8

"""Support of stream tests: an upstream that sends on command, and a caller that reads on command."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from support.gateway_process import JSON, PATIENCE, Gateway, bearer, message
from support.in_process_gateway import APP, ENDPOINT, INPUT, JOB
from support.scripted_upstream import Peer

# Seconds from a caller's leaving to the end of fal's request: one is promised, and a busy machine may take another. The
# heartbeat, which would find it too, comes after four.
WITHIN = 2.0
# Seconds from the sending of an event to its arrival. The heartbeat of 4 s would push an event out of a buffer.
LATEST = 2.0
LAST_CHUNK = b"0\r\n\r\n"
ALL_ACTIONS = {
    "id": ENDPOINT,
    "actions": ["submit", "status", "status-stream", "result", "cancel", "run", "run-stream"],
}


def head(kind: bytes = b"text/event-stream", *fields: bytes, status: int = 200) -> bytes:
    lines = [b"HTTP/1.1 %d X" % status, b"content-type: " + kind, b"transfer-encoding: chunked", *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def whole(status: int, body: object, *fields: bytes, kind: bytes = b"application/json") -> bytes:
    """Returns a complete answer of fal's."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    length = b"content-length: %d" % len(content)
    lines = [b"HTTP/1.1 %d X" % status, b"content-type: " + kind, length, b"connection: close", *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + content


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def status_event(status: str = "IN_PROGRESS", **more: object) -> bytes:
    """Returns an event as fal writes one about JOB."""
    url = f"https://queue.fal.run/{APP}/requests/{JOB}"
    urls = {"response_url": url, "status_url": f"{url}/status", "cancel_url": f"{url}/cancel"}
    body = {"status": status, "request_id": JOB, **urls, "logs": None, "metrics": {}, **more}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


@dataclass
class Feed:
    """Answers each request with *first* at once; `give` then sends to all that are open.

    *left*: when each went.
    """

    first: bytes = field(default_factory=head)
    asked: list[bytes] = field(default_factory=list)
    open: list[Peer] = field(default_factory=list)
    left: list[float] = field(default_factory=list)

    async def __call__(self, peer: Peer) -> None:
        self.asked.append(await peer.request())
        peer.send(self.first)
        self.open.append(peer)
        try:
            await peer.gone()
        finally:
            self.open.remove(peer)
            self.left.append(time.monotonic())

    async def give(self, *pieces: bytes) -> float:
        """Sends *pieces*, and returns when they were sent."""
        for piece in pieces:
            for peer in self.open:
                peer.send(chunk(piece))
        return time.monotonic()

    async def end(self, last: bytes = LAST_CHUNK) -> None:
        for peer in self.open:
            peer.send(last)

    async def reset(self) -> None:
        for peer in self.open:
            peer.reset()


class Caller:
    """A caller that sends *raw* on a connection of its own, in `with Caller(address, raw) as caller:`."""

    def __init__(self, address: tuple[str, int], raw: bytes, *, window: int | None = None) -> None:
        self._socket = socket.socket()
        if window is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(address)
        self._socket.sendall(raw)
        self.received = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def hear(self, text: bytes) -> float:
        """Reads on until *text* has come; when that was. Fails where the other side closes before."""
        while text not in self.received:
            some = self._socket.recv(65536)
            assert some, bytes(self.received)
            self.received += some
        return time.monotonic()

    def rest(self) -> bytes:
        """Returns all of the answer, once the other side has closed."""
        while some := self._socket.recv(65536):
            self.received += some
        return bytes(self.received)

    def leave(self) -> float:
        self._socket.close()
        return time.monotonic()

    @property
    def status(self) -> int:
        self.hear(b"\r\n\r\n")
        return int(self.received.split(b" ", 2)[1])


def watch(
    gateway: Gateway, *, address: tuple[str, int] | None = None, subject: str = "alice", mode: str = "path"
) -> Caller:
    """Returns a caller at the status stream of JOB."""
    job = gateway.job(subject)
    return Caller(address or gateway.address, stream_request(job, subject, mode))


def stream_request(job: str, subject: str = "alice", mode: str = "path", query: str = "") -> bytes:
    path = f"{APP}/requests/{job}/status/stream{query}"
    if mode == "header":
        url = f"x-fal-target-url: https://queue.fal.run/{path}".encode()
        return message("GET", b"/api/fal/proxy", bearer(subject), url)
    return message("GET", f"/api/fal/queue/{path}".encode(), bearer(subject))


def run_request(rest: str = "", subject: str = "alice", mode: str = "path", **more: object) -> bytes:
    body = json.dumps({**INPUT, **more}).encode()
    if mode == "header":
        url = f"x-fal-target-url: https://fal.run/{ENDPOINT}{rest}".encode()
        return message("POST", b"/api/fal/proxy", bearer(subject), JSON, url, body=body)
    return message("POST", f"/api/fal/run/{ENDPOINT}{rest}".encode(), bearer(subject), JSON, body=body)


def content(answer: bytes) -> bytes:
    """Returns the content of a chunked answer, as far as it came."""
    _, _, rest = answer.partition(b"\r\n\r\n")
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body += rest[: int(size or b"0", 16)]
        rest = rest[int(size or b"0", 16) + 2 :]
    return body

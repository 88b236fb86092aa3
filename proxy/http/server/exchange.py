"""One request on a connection and the answer to it, as ASGI has them: `receive`, `send`, and a short way for an answer
that is whole (ASGI specification, HTTP connection scope, version 2.3).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from enum import Enum, auto

from starlette.types import Message

from proxy.http.server.flow_control import HIGH_WATER, STATUS_LINES, Outlet
from proxy.http.server.state import Door

# The key in the ASGI scope's extensions of the Exchange that carries the request.
EXCHANGE = "fal_proxy.exchange"

_FIELD_LINES = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t -~\x80-\xff]*\r\n)*")
_NO_CONTENT = frozenset({204, 304})


class Framing(Enum):
    """How the end of an answer's content is told (RFC 9112 section 6.3)."""

    NONE = auto()  # there is none
    LENGTH = auto()
    CHUNKED = auto()
    CLOSE = auto()  # by that of the connection


class Exchange:
    """*keep_alive* may be taken back until the answer begins. *gone*: the client has left. *expects*: it waits for a
    100 (Continue) before it sends the body (RFC 9110 section 10.1.1).

    *on_leave* is called once if the client leaves while it is set. *task* is the one that runs the application.
    *on_complete* is called when all of the answer is handed to *outlet*. One `receive` at a time.
    """

    __slots__ = (
        "_content",
        "_door",
        "_framing",
        "_head",
        "_held",
        "_left",
        "_method",
        "_more",
        "_news",
        "_on_complete",
        "_outlet",
        "_version",
        "_waiter",
        "complete",
        "expects",
        "gone",
        "keep_alive",
        "on_leave",
        "started",
        "task",
    )

    def __init__(
        self, outlet: Outlet, door: Door, method: str, version: str, on_complete: Callable[[Exchange], None]
    ) -> None:
        self._outlet = outlet
        self._door = door
        self._method = method
        self._version = version
        self._on_complete = on_complete
        self.keep_alive = True
        self.expects = False
        self.task: asyncio.Task[None] | None = None
        self.on_leave: Callable[[], None] | None = None
        self.gone = self.started = self.complete = False
        self._content: list[bytes] = []
        self._held = 0  # bytes of *_content*
        self._more = True
        self._news = False
        self._waiter: asyncio.Future[None] | None = None
        self._head = b""
        self._framing = Framing.NONE
        self._left = 0  # bytes of content still to be sent, where their number was told

    @property
    def transport(self) -> asyncio.Transport:
        """As uvicorn's cycles have it: for an application that breaks connections on purpose, as our sandbox does."""
        return self._outlet.transport

    # What the connection tells.

    def feed(self, content: bytes) -> None:
        self._content.append(content)
        self._held += len(content)
        if self._held > HIGH_WATER:
            self._outlet.hold()
        self._tell()

    def end(self) -> None:
        """The request is whole."""
        self._more = False
        self._tell()

    def lose(self) -> None:
        """The connection is gone, so nothing can be written any more."""
        self._head = b""
        if not self.complete:
            self.leave()

    def leave(self) -> None:
        self.gone = True
        self._tell()
        if self.on_leave is not None:
            on_leave, self.on_leave = self.on_leave, None
            on_leave()

    # What the application calls.

    async def receive(self) -> Message:
        if self.expects and not self.gone:
            self.expects = False
            self._outlet.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not (self.gone or self.complete):
            self._outlet.release()
        if not (self._news or self.gone):
            self._waiter = self._outlet.loop.create_future()
            await self._waiter
        if self.gone or self.complete:
            return {"type": "http.disconnect"}
        self._news = False
        content, self._content, self._held = b"".join(self._content), [], 0
        return {"type": "http.request", "body": content, "more_body": self._more}

    async def send(self, message: Message) -> None:
        """Raises RuntimeError where the message is not one that may come now, or breaks the framing of the answer."""
        if self._outlet.is_congested and not self.gone:
            await self._outlet.relieved()
        if self.gone:
            return
        if not self.started and message["type"] == "http.response.start":
            self._start(message["status"], message.get("headers", ()))
        elif self.started and not self.complete and message["type"] == "http.response.body":
            self._continue(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise RuntimeError(f"{message['type']} may not be sent now")

    def answer(self, status: int, head: bytes, content: bytes) -> bool:
        """All of an answer in one write. *head* is its field lines, Content-Length among them and Connection not.

        False where it has to go the longer way, by messages, because the client is slow to read.
        """
        if self.gone:
            return True
        if self._outlet.is_congested or self.started:
            return False
        self.started = True
        self.expects = False
        connection = b"" if self.keep_alive else b"connection: close\r\n"
        content = b"" if self._method == "HEAD" else content
        self._outlet.write(b"".join((STATUS_LINES[status], self._door.common, head, connection, b"\r\n", content)))
        self._complete()
        return True

    def cut(self) -> None:
        """Closes in the middle of an answer; what is still sent of it goes nowhere.

        A reader of chunks sees by that that they are not all (RFC 9112 section 8). One who does not read sees a reset.
        """
        self.flush()
        self.gone = True
        self._outlet.cut()

    def flush(self) -> None:
        """Writes a head that still waits for its first content."""
        if self._head:
            head, self._head = self._head, b""
            self._outlet.write(head)

    def _start(self, status: int, fields: Sequence[tuple[bytes, bytes]]) -> None:
        lines = b"".join([b"%b: %b\r\n" % field for field in fields])
        own = {name.lower(): value for name, value in fields}
        length = own.get(b"content-length")
        broken = _FIELD_LINES.fullmatch(lines) is None or lines.count(b"\n") != len(fields)
        if broken or b"transfer-encoding" in own or (length is not None and not length.isdigit()):
            raise RuntimeError("a response field would break the framing")
        if self._method == "HEAD" or status in _NO_CONTENT:
            self._framing = Framing.NONE
        elif length is not None:
            self._framing, self._left = Framing.LENGTH, int(length)
        elif self._version == "1.0":  # it knows no chunks (RFC 9112 section 6.1); its connection closes anyhow
            self._framing = Framing.CLOSE
        else:
            self._framing = Framing.CHUNKED
            lines += b"transfer-encoding: chunked\r\n"
        if own.get(b"connection", b"").lower() == b"close":
            self.keep_alive = False
        elif not self.keep_alive:
            lines += b"connection: close\r\n"
        # It waits for the content that nearly always follows at once: one system call and one segment for both.
        self._head = b"".join((STATUS_LINES[status], self._door.common, lines, b"\r\n"))
        self.started = True
        self.expects = False
        self._outlet.loop.call_soon(self.flush)

    def _continue(self, content: bytes, *, more: bool) -> None:
        if self._framing is Framing.NONE:
            content = b""
        elif self._framing is Framing.LENGTH:
            self._left -= len(content)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("the content is not as long as its Content-Length")
        elif self._framing is Framing.CHUNKED:
            content = (b"%x\r\n%b\r\n" % (len(content), content) if content else b"") + (b"" if more else b"0\r\n\r\n")
        data, self._head = self._head + content, b""
        if data:
            self._outlet.write(data)
        if not more:
            self._complete()

    def _complete(self) -> None:
        self.complete = True
        self._tell()
        # Called once: what keeps the exchange, a scope somebody remembers, must not keep the connection.
        on_complete, self._on_complete = self._on_complete, _nothing
        on_complete(self)

    def _tell(self) -> None:
        self._news = True
        if self._waiter is not None:
            if not self._waiter.done():
                self._waiter.set_result(None)
            self._waiter = None


def _nothing(_: Exchange) -> None:
    pass

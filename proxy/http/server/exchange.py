"""One request on a connection and its response, in ASGI messages (HTTP connection scope, version 2.3).

A whole response has a shorter way: `Exchange.answer`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from enum import Enum, auto

from starlette.types import Message

from proxy.http.server.flow_control import HIGH_WATER, STATUS_LINES, FlowControl
from proxy.http.server.load_limit import Rank
from proxy.http.server.state import SharedState

# The key in the ASGI scope's extensions of the Exchange that carries the request.
EXCHANGE = "fal_proxy.exchange"

_FIELD_LINES = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t -~\x80-\xff]*\r\n)*")
_NO_CONTENT = frozenset({204, 304})


class Framing(Enum):
    """Delimiter of a response's content (RFC 9112 section 6.3)."""

    NONE = auto()  # no content
    LENGTH = auto()
    CHUNKED = auto()
    CLOSE = auto()  # the end of the connection


class Exchange:
    """Request and response of one exchange. One `receive` at a time.

    *keep_alive* may be set to False until the response begins. *gone*: the client has disconnected. *expects*: the
    client waits for a 100 (Continue) before it sends the body (RFC 9110 section 10.1.1). *on_leave* is called once if
    the client disconnects while it is set. *in_flight*: the whole request has come, and the application works on it.
    *rank* is set where the load limit counts the request. *task* runs the application. *on_complete* is called when the
    whole response has been written to *flow*.
    """

    __slots__ = (
        "_buffered",
        "_changed",
        "_content",
        "_flow",
        "_framing",
        "_head",
        "_method",
        "_more",
        "_on_complete",
        "_shared",
        "_unsent",
        "_version",
        "_waiter",
        "complete",
        "expects",
        "gone",
        "in_flight",
        "keep_alive",
        "on_leave",
        "rank",
        "started",
        "task",
    )

    def __init__(
        self, flow: FlowControl, shared: SharedState, method: str, version: str, on_complete: Callable[[Exchange], None]
    ) -> None:
        self._flow = flow
        self._shared = shared
        self._method = method
        self._version = version
        self._on_complete = on_complete
        self.keep_alive = True
        self.expects = False
        self.task: asyncio.Task[None] | None = None
        self.on_leave: Callable[[], None] | None = None
        self.gone = self.started = self.complete = self.in_flight = False
        self.rank: Rank | None = None
        self._content: list[bytes] = []
        self._buffered = 0  # bytes in *_content*
        self._more = True
        self._changed = False
        self._waiter: asyncio.Future[None] | None = None
        self._head = b""
        self._framing = Framing.NONE
        self._unsent = 0  # bytes of content to send, with a Content-Length

    @property
    def transport(self) -> asyncio.Transport:
        """The transport, for an application that breaks connections on purpose, as the sandbox does."""
        return self._flow.transport

    # Called by the connection.

    def on_body(self, content: bytes) -> None:
        self._content.append(content)
        self._buffered += len(content)
        if self._buffered > HIGH_WATER:
            self._flow.pause_reading()
        self._notify()

    def on_request_complete(self) -> None:
        """Notes the end of the request."""
        self._more = False
        self._notify()

    def on_connection_lost(self) -> None:
        """Notes the end of the connection: nothing can be written."""
        self._head = b""
        if not self.complete:
            self.on_disconnect()

    def on_disconnect(self) -> None:
        self.gone = True
        self._notify()
        if self.on_leave is not None:
            on_leave, self.on_leave = self.on_leave, None
            on_leave()

    # Called by the application.

    async def receive(self) -> Message:
        if self.expects and not self.gone:
            self.expects = False
            self._flow.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not (self.gone or self.complete):
            self._flow.resume_reading()
        if not (self._changed or self.gone):
            self._waiter = self._flow.loop.create_future()
            await self._waiter
        if self.gone or self.complete:
            return {"type": "http.disconnect"}
        self._changed = False
        content, self._content, self._buffered = b"".join(self._content), [], 0
        return {"type": "http.request", "body": content, "more_body": self._more}

    async def send(self, message: Message) -> None:
        """Raises RuntimeError for a message out of order, and for one that breaks the framing of the response."""
        if self._flow.is_congested and not self.gone:
            self._shared.stalled += 1
            try:
                await self._flow.drain()
            finally:
                self._shared.stalled -= 1
        if self.gone:
            return
        if not self.started and message["type"] == "http.response.start":
            self._start(message["status"], message.get("headers", ()))
        elif self.started and not self.complete and message["type"] == "http.response.body":
            self._continue(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise RuntimeError(f"{message['type']} may not be sent now")

    def answer(self, status: int, head: bytes, content: bytes) -> bool:
        """Sends a whole response in one write, or in two where it is large.

        *head* has its field lines with Content-Length and without Connection.

        Returns False where it must go by messages, because the client is slow to read.
        """
        if self.gone:
            return True
        if self._flow.is_congested or self.started:
            return False
        self.started = True
        self.expects = False
        connection = b"" if self.keep_alive else b"connection: close\r\n"
        content = b"" if self._method == "HEAD" else content
        lines = (STATUS_LINES[status], self._shared.default_headers, head, connection, b"\r\n")
        if len(content) > HIGH_WATER:  # a copy of it would take longer than a second write
            self._flow.write(b"".join(lines))
            self._flow.write(content)
        else:
            self._flow.write(b"".join((*lines, content)))
        self._complete()
        return True

    def abort(self) -> None:
        """Closes in the middle of a response; later messages are dropped.

        A client that reads sees chunks without an end (RFC 9112 section 8); a client that does not read sees a reset.
        """
        self.flush()
        self.gone = True
        self._flow.close_or_abort()

    def flush(self) -> None:
        """Writes a head that waits for its first content."""
        if self._head:
            head, self._head = self._head, b""
            self._flow.write(head)

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
            self._framing, self._unsent = Framing.LENGTH, int(length)
        elif self._version == "1.0":  # it knows no chunks (RFC 9112 section 6.1); its connection closes anyhow
            self._framing = Framing.CLOSE
        else:
            self._framing = Framing.CHUNKED
            lines += b"transfer-encoding: chunked\r\n"
        if own.get(b"connection", b"").lower() == b"close":
            self.keep_alive = False
        elif not self.keep_alive:
            lines += b"connection: close\r\n"
        # Content nearly always follows at once: one system call and one segment for both.
        self._head = b"".join((STATUS_LINES[status], self._shared.default_headers, lines, b"\r\n"))
        self.started = True
        self.expects = False
        self._flow.loop.call_soon(self.flush)

    def _continue(self, content: bytes, *, more: bool) -> None:
        if self._framing is Framing.NONE:
            content = b""
        elif self._framing is Framing.LENGTH:
            self._unsent -= len(content)
            if self._unsent < 0 or (self._unsent and not more):
                raise RuntimeError("the content is not as long as its Content-Length")
        elif self._framing is Framing.CHUNKED:
            content = (b"%x\r\n%b\r\n" % (len(content), content) if content else b"") + (b"" if more else b"0\r\n\r\n")
        data, self._head = self._head + content, b""
        if data:
            self._flow.write(data)
        if not more:
            self._complete()

    def _complete(self) -> None:
        self.complete = True
        self._notify()
        # Called once: a scope that the application keeps refers to the exchange, and must not keep the connection.
        on_complete, self._on_complete = self._on_complete, _nothing
        on_complete(self)

    def _notify(self) -> None:
        self._changed = True
        if self._waiter is not None:
            if not self._waiter.done():
                self._waiter.set_result(None)
            self._waiter = None


def _nothing(_: Exchange) -> None:
    pass

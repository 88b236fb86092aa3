"""Where answers are written: head and first content in one segment, and with an eye on who does not read them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from proxy.errors import CLOSE, Refusal

_CONTINUE = b"HTTP/1.1 100"


class Outlet:
    """The part of a transport that uvicorn's exchange uses.

    uvicorn writes head and content apart; each write would be a system call and, without Nagle, a segment. A head
    waits for the content that nearly always follows at once, and leaves alone when the loop comes round without any.
    """

    __slots__ = ("_head", "_loop", "_transport", "_unsent", "close", "is_closing")

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, close: Callable[[], None]
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""
        self._unsent = (0.0, 0)  # since when, how much
        self.close = close
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(_CONTINUE):
            self._head = data
            self._loop.call_soon(self.flush)
            return
        self._transport.write(data)

    def flush(self) -> None:
        if self._head:
            data, self._head = self._head, b""
            self._transport.write(data)

    def is_stalled(self, now: float, *, window: float, least: float, may_grow: bool) -> bool:
        """Whether the client took less than *least* bytes of what waits for it in the last *window* seconds.

        Only a buffer that nothing is added to can tell: a full one, or one with the rest of an answer.
        """
        since, before = self._unsent
        left = self._transport.get_write_buffer_size()
        if left and not may_grow and before - least < left <= before:
            return now - since >= window
        self._unsent = (now, left)
        return False


def refusal_bytes(refusal: Refusal, common: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A whole answer that closes its connection, with the *common* fields of every answer."""
    body = orjson.dumps({"detail": refusal.detail, "message": refusal.detail, "error_type": refusal.error_type})
    fields = [
        *common,
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        *(field for field in refusal.headers if field != CLOSE),
        CLOSE,
    ]
    head = b"".join(b"%b: %b\r\n" % field for field in fields)
    return b"%b%b\r\n%b" % (STATUS_LINE[refusal.status], head, body)

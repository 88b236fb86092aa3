"""Where an exchange writes its answer: head and first content leave in one segment, and closing is the protocol's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_CONTINUE = b"HTTP/1.1 100"


class Outlet:
    """The part of a transport that uvicorn's exchange uses.

    uvicorn writes head and content apart; each write would be a system call and, without Nagle, a segment. A head
    waits for the content that nearly always follows at once, and leaves alone when the loop comes round without any.
    """

    __slots__ = ("_head", "_loop", "_transport", "close", "is_closing")

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, close: Callable[[], None]
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""
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

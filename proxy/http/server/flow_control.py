"""Where answers leave: held back for a client that is slow, with an eye on one that does not read at all."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import orjson

from proxy.errors import CLOSE, Refusal
from proxy.http.response import PROTECTIVE

HIGH_WATER = 64 * 1024  # bytes held for one who does not take them, either way; uvicorn's figure
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
STATUS_LINES = {
    status: f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\n".encode("ascii") for status in range(100, 600)
}


class Outlet:
    """What an exchange needs of its connection; `congest` and `relieve` are what the transport says of writing."""

    __slots__ = ("_held", "_relief", "_unsent", "loop", "transport", "write")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self._unsent = (0.0, 0)  # since when, how much
        self._held = False
        self._relief: asyncio.Future[None] | None = None
        self.loop = asyncio.get_running_loop()
        self.write = transport.write

    @property
    def is_congested(self) -> bool:
        """Whether the client is slow to read."""
        return self._relief is not None

    async def relieved(self) -> None:
        """Returns when it is congested no more, or lost."""
        if self._relief is not None:
            await asyncio.shield(self._relief)

    def congest(self) -> None:
        self._relief = self.loop.create_future()

    def relieve(self) -> None:
        if self._relief is not None:
            self._relief.set_result(None)
            self._relief = None

    def hold(self) -> None:
        """Reads no more until `release`."""
        if not self._held:
            self._held = True
            self.transport.pause_reading()

    def release(self) -> None:
        if self._held:
            self._held = False
            self.transport.resume_reading()

    def cut(self) -> None:
        if self.transport.get_write_buffer_size() > HIGH_WATER:
            self.transport.abort()
        else:
            self.transport.close()

    def is_stalled(self, now: float, *, window: float, least: float, may_grow: bool) -> bool:
        """Whether the client took less than *least* bytes of what waits for it in the last *window* seconds.

        Only a buffer that nothing is added to can tell: a full one, or one with the rest of an answer.
        """
        since, before = self._unsent
        left = self.transport.get_write_buffer_size()
        if left and not may_grow and before - least < left <= before:
            return now - since >= window
        self._unsent = (now, left)
        return False


def refusal_bytes(refusal: Refusal, common: bytes) -> bytes:
    """A whole answer that closes its connection; *common* are the lines that every answer has."""
    body = orjson.dumps({"detail": refusal.detail, "message": refusal.detail, "error_type": refusal.error_type})
    fields = [
        *PROTECTIVE,
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *(field for field in refusal.headers if field != CLOSE),
        CLOSE,
    ]
    head = b"".join(b"%b: %b\r\n" % field for field in fields)
    return b"".join((STATUS_LINES[refusal.status], common, head, b"\r\n", body))

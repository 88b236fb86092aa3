"""Flow control of one connection: back-pressure, and detection of clients that stop reading."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from proxy.errors import CLOSE, Refusal
from proxy.http.response import error_response

HIGH_WATER = 64 * 1024  # bytes buffered in either direction; uvicorn's figure
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
STATUS_LINES = {
    status: f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\n".encode("ascii") for status in range(100, 600)
}


class FlowControl:
    """Reading and writing of one *transport*, which calls `pause_writing` and `resume_writing`."""

    __slots__ = ("_drained", "_reading_paused", "_unsent", "loop", "transport", "write")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self._unsent = (0.0, 0)  # since when (loop time), and how many bytes
        self._reading_paused = False
        self._drained: asyncio.Future[None] | None = None
        self.loop = asyncio.get_running_loop()
        self.write = transport.write

    @property
    def is_congested(self) -> bool:
        """True while the client reads more slowly than the application writes."""
        return self._drained is not None

    async def drain(self) -> None:
        """Waits until the write buffer is below its limit, or the connection is lost."""
        if self._drained is not None:
            await asyncio.shield(self._drained)

    def pause_writing(self) -> None:
        self._drained = self.loop.create_future()

    def resume_writing(self) -> None:
        if self._drained is not None:
            self._drained.set_result(None)
            self._drained = None

    def pause_reading(self) -> None:
        """Stops reading until `resume_reading`."""
        if not self._reading_paused:
            self._reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self._reading_paused:
            self._reading_paused = False
            self.transport.resume_reading()

    def close_or_abort(self) -> None:
        if self.transport.get_write_buffer_size() > HIGH_WATER:
            self.transport.abort()
        else:
            self.transport.close()

    def is_stalled(self, now: float, *, window: float, least: float, may_grow: bool) -> bool:
        """Returns True where the client read less than *least* buffered bytes in the last *window* seconds.

        Only a buffer to which nothing is added counts (not *may_grow*): a full one, or the rest of a response.
        """
        since, before = self._unsent
        left = self.transport.get_write_buffer_size()
        if left and not may_grow and before - least < left <= before:
            return now - since >= window
        self._unsent = (now, left)
        return False


def closing_response(refusal: Refusal, common: bytes) -> bytes:
    """Returns the bytes of a response that closes its connection.

    *common* are the lines of every response.
    """
    response = error_response(refusal)
    close = () if CLOSE in response.headers else (CLOSE,)
    return b"".join((STATUS_LINES[response.status], common, response.lines(close), b"\r\n", response.body))

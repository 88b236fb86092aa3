"""Flow control of one connection: back-pressure, and detection of clients that stop reading."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from fcntl import ioctl
from http import HTTPStatus
from termios import TIOCOUTQ

from proxy.errors import CLOSE, Refusal
from proxy.http.response import error_response

HIGH_WATER = 64 * 1024  # bytes buffered in either direction; uvicorn's figure
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
STATUS_LINES = {
    status: f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\n".encode("ascii") for status in range(100, 600)
}
_NO_LINGER = struct.pack("ii", 1, 0)  # socket(7): a close sends RST, and drops what the system has not sent


class FlowControl:
    """Reading and writing of one *transport*, which calls `pause_writing` and `resume_writing`."""

    __slots__ = ("_acknowledged", "_drained", "_reading_paused", "_unsent", "loop", "transport", "write")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self._unsent = (0.0, 0)  # since when (loop time), and how many bytes
        self._acknowledged: float | None = None
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

    def reset(self) -> None:
        """Closes at once. The system would else keep what the client does not read for minutes."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None and not self.transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.transport.abort()

    def close_or_abort(self) -> None:
        if self.transport.get_write_buffer_size() > HIGH_WATER:
            self.reset()
        else:
            self.transport.close()

    def unread(self, idle: float | None) -> int:
        """Returns the bytes that the client is to read.

        While it is *idle*, a value for each time, those count too that the system has taken and the client's has not
        acknowledged. Once there are none the system is not asked again.
        """
        left = self.transport.get_write_buffer_size()
        if left or idle is None or idle == self._acknowledged or sys.platform != "linux":
            return left
        sock = self.transport.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            left = int.from_bytes(ioctl(sock.fileno(), TIOCOUTQ, bytes(4)), sys.byteorder)
        if not left:
            self._acknowledged = idle
        return left

    def is_stalled(self, now: float, left: int, *, window: float, least: float, may_grow: bool) -> bool:
        """Returns True where the client read less than *least* of *left* bytes in *window* seconds.

        Only a buffer to which nothing is added counts (not *may_grow*): a full one, or the rest of a response.
        """
        since, before = self._unsent
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

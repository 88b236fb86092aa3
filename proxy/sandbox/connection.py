"""Access to the socket below an ASGI request, for faults that break the connection."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass

from starlette.types import Receive, Send

# SO_LINGER on with zero seconds: closing sends RST instead of FIN (socket(7)).
_NO_LINGER = struct.pack("ii", 1, 0)


class NoSocketError(ConnectionError):
    """A fault of the connection on a request that an in-process client sent."""


@dataclass(frozen=True, slots=True)
class Connection:
    """The transport of a request, None in process.

    ASGI has no event that breaks a connection. In the gateway's server and in uvicorn `send` is a bound method of the
    object that owns the transport. A wrapped `send` hides that object, so pass the server's own.
    """

    transport: asyncio.Transport | None

    @classmethod
    def from_send(cls, send: Send) -> Connection:
        """Returns the connection whose server passed *send* to the application."""
        return cls(getattr(getattr(send, "__self__", None), "transport", None))

    def close_after(self, last: bytes = b"") -> None:
        """Writes *last* unframed and closes. Raises NoSocketError in process."""
        transport = self._transport()
        transport.write(last)
        transport.close()

    def reset(self) -> None:
        """Closes with RST. Raises NoSocketError in process."""
        transport = self._transport()
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport.abort()

    def _transport(self) -> asyncio.Transport:
        if self.transport is None:
            raise NoSocketError("the request has no socket that could be closed")
        return self.transport


async def wait_disconnect(receive: Receive) -> None:
    """Waits for `http.disconnect`.

    A server completes the response of an application that returns earlier.
    """
    while (await receive())["type"] != "http.disconnect":
        pass

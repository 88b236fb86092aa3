from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass

from starlette.types import Receive, Send

# SO_LINGER on with zero seconds: closing sends RST instead of FIN (socket(7)).
_NO_LINGER = struct.pack("ii", 1, 0)


class ConnectionCut(ConnectionError):
    """Raised to the caller of an in-process app, where there is no socket to cut."""


@dataclass(frozen=True, slots=True)
class Connection:
    """The socket under a request, None in process.

    ASGI has no word for cutting it. The `send` of our listener, and of uvicorn with either parser, is a method of what
    carries the request, and that has the transport; so this must see the server's own `send`, not a wrapped one.
    """

    transport: asyncio.Transport | None

    @classmethod
    def of(cls, send: Send) -> Connection:
        return cls(getattr(getattr(send, "__self__", None), "transport", None))

    def hang_up(self, last: bytes = b"") -> None:
        """Writes *last* as it is, and closes. Raises ConnectionCut where there is no socket."""
        transport = self._transport()
        transport.write(last)
        transport.close()

    def reset(self) -> None:
        """Closes with RST. Raises ConnectionCut where there is no socket."""
        transport = self._transport()
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport.abort()

    def _transport(self) -> asyncio.Transport:
        if self.transport is None:
            raise ConnectionCut("no socket under this request to cut")
        return self.transport


async def gone(receive: Receive) -> None:
    """Waits for the disconnect: an app that returns before it makes the server answer in its place."""
    while (await receive())["type"] != "http.disconnect":
        pass

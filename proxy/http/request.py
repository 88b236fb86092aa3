"""One request as the gateway receives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from starlette.types import Receive

from proxy.http.server.disconnect import CancelOnDisconnect
from proxy.http.server.exchange import Exchange

REQUEST = "proxy.request"  # key of a Request in the ASGI scope of the pages beside the gateway


class Request(NamedTuple):
    """One request below the prefix.

    *route* is the raw path after the prefix, *named* the *headers* by name: a field that decides something occurs once.
    *address* is the client's address behind the trusted proxies. *public_url* is the absolute URL of the prefix.
    *exchange* is there where our own connection class carries the request.
    """

    method: str
    route: bytes
    query: bytes
    headers: Sequence[tuple[bytes, bytes]]
    fields_by_name: Mapping[bytes, bytes]
    address: str
    receive: Receive
    public_url: str = ""
    exchange: Exchange | None = None

    def cancel_on_disconnect(self) -> CancelOnDisconnect:
        """Returns a block that ends when the caller disconnects; the body must have been read to its end."""
        return CancelOnDisconnect(self.receive, self.exchange)

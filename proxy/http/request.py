"""One request as the gateway receives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.types import Receive

from proxy.http.server.disconnect import CancelOnDisconnect
from proxy.http.server.exchange import Exchange

REQUEST = "proxy.request"  # key of a Request in the ASGI scope of the pages beside the gateway


@dataclass(slots=True)
class Request:
    """One request below the prefix.

    *route* is the raw path after the prefix, *named* the *headers* by name: a field that decides something occurs once.
    *address* is the client's address behind the trusted proxies. *public_url* is the absolute URL of the prefix.
    *exchange* is there where our own connection class carries the request.
    """

    method: Final[str]
    route: Final[bytes]
    query: Final[bytes]
    headers: Final[Sequence[tuple[bytes, bytes]]]
    fields_by_name: Final[Mapping[bytes, bytes]]
    address: Final[str]
    receive: Final[Receive]
    public_url: Final[str] = ""
    exchange: Final[Exchange | None] = None

    def cancel_on_disconnect(self) -> CancelOnDisconnect:
        """Returns a block that ends when the caller disconnects; the body must have been read to its end."""
        return CancelOnDisconnect(self.receive, self.exchange)

"""What the connections of one listener share: the limits they keep, and the count of who is in."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from proxy.http.client_address import Network, address_key, is_trusted
from proxy.http.server.limits import ListenerLimits


class ServerConnection(Protocol):
    """A connection, as far as its listener is concerned."""

    transport: asyncio.Transport

    def drain(self) -> None: ...

    def shutdown(self) -> None: ...

    def check_timeouts(self, now: float) -> None: ...


@dataclass(slots=True)
class ServerState:
    """*trusted* proxies bring many clients: no cap by address for them. *report* takes a word for each thing ended.

    While *draining*, every answer closes its connection. *emptied* is set whenever the last connection goes. *tasks*
    run the application; one can outlive its connection. *common* are the lines that every answer has, Date the first
    (RFC 9110 section 6.6.1).
    """

    limits: ListenerLimits
    trusted: Sequence[Network]
    on_rejected: Callable[[str], None]
    draining: bool = False
    all_closed: asyncio.Event = field(default_factory=asyncio.Event)
    connections_per_address: Counter[str] = field(default_factory=Counter)
    connections: set[ServerConnection] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    default_headers: bytes = b""

    def acquire_slot(self, address: str) -> str | None:
        """What to `leave` as; "" for what is not counted, None where there are too many from *address*.

        An empty *address* is a Unix socket's peer, or one that has left already.
        """
        if not address or is_trusted(address, self.trusted):
            return ""
        key = address_key(address)
        if self.connections_per_address[key] >= self.limits.per_address:
            return None
        self.connections_per_address[key] += 1
        return key

    def release_slot(self, key: str | None) -> None:
        if key:
            self.connections_per_address[key] -= 1
            if not self.connections_per_address[key]:
                del self.connections_per_address[key]

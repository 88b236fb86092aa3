"""What the connections of one listener share: the limits they keep, and the count of who is in."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from proxy.http.client_address import Network, address_key, is_trusted
from proxy.http.server.limits import ListenerLimits


class Watched(Protocol):
    """A connection, as far as its listener is concerned."""

    transport: asyncio.Transport

    def drain(self) -> None: ...

    def shutdown(self) -> None: ...

    def inspect(self, now: float) -> None: ...


@dataclass(slots=True)
class Door:
    """*trusted* proxies bring many clients: no cap by address for them. *report* takes a word for each thing ended.

    While *draining*, every answer closes its connection. *emptied* is set whenever the last connection goes. *tasks*
    run the application; one can outlive its connection. *common* are the lines that every answer has, Date the first
    (RFC 9110 section 6.6.1).
    """

    limits: ListenerLimits
    trusted: Sequence[Network]
    report: Callable[[str], None]
    draining: bool = False
    emptied: asyncio.Event = field(default_factory=asyncio.Event)
    crowd: Counter[str] = field(default_factory=Counter)
    connections: set[Watched] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    common: bytes = b""

    def enter(self, address: str) -> str | None:
        """What to `leave` as; "" for what is not counted, None where there are too many from *address*.

        An empty *address* is a Unix socket's peer, or one that has left already.
        """
        if not address or is_trusted(address, self.trusted):
            return ""
        key = address_key(address)
        if self.crowd[key] >= self.limits.per_address:
            return None
        self.crowd[key] += 1
        return key

    def leave(self, key: str | None) -> None:
        if key:
            self.crowd[key] -= 1
            if not self.crowd[key]:
                del self.crowd[key]

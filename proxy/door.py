"""What the connections of one listener share: the limits they keep, and the count of who is in."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
from typing import Protocol

from proxy.addresses import Network, address_key, is_trusted


def _most_descriptors() -> int:
    """80 % of the files this process may open: the rest is for the upstream, the store and the log."""
    soft, _ = getrlimit(RLIMIT_NOFILE)
    return 65_536 if soft == RLIM_INFINITY else soft * 4 // 5


@dataclass(frozen=True, slots=True)
class ListenerLimits:
    """Sizes in bytes, times in seconds, each with its precedent."""

    head: int = 32 * 1024  # nginx: large_client_header_buffers 4 8k
    fields: int = 100  # Apache: LimitRequestFields 100
    target: int = 8 * 1024  # nginx: the request line fits one buffer of 8k; RFC 9112 section 3 wants 8000 at least
    framing: int = 8 * 1024  # chunk extensions and trailers: half of what Go's net/http bears since CVE-2023-39326
    head_time: float = 10.0  # Apache mod_reqtimeout, first example: header=10 body=30; both for the whole, not a read
    body_time: float = 30.0
    min_rate: int = 1024  # a second, of a body or of an answer: Apache's examples have 500 and 1000, Kestrel 240
    rate_grace: float = 5.0  # Kestrel: MinRequestBodyDataRate is judged after 5 s
    stall_time: float = 30.0  # for an answer's next 30 s worth of min_rate: half of nginx's send_timeout
    keep_alive: float = 75.0  # nginx: keepalive_timeout; above the 60 s that balancers keep a connection to us
    drain: int = 64 * 1024  # of a body nobody wanted, before the connection goes: Go's net/http reads 256 KiB
    linger: float = 0.5  # Go's net/http: rstAvoidanceDelay, so that the last answer is read before the reset
    closing: float = 2.0  # for the rest of a half-sent request once the listener stops
    connections: int = field(default_factory=_most_descriptors)
    per_address: int = 100  # open at once: 16 browsers of 6; nginx's example of limit_conn has 10
    sweep: float = 0.5  # how often the deadlines are looked at


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

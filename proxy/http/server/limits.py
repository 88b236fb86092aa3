"""Sizes, times and counts that bound the connections of one HTTP server."""

from __future__ import annotations

from dataclasses import dataclass, field
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit


def _most_descriptors() -> int:
    """80 % of the files this process may open: the rest is for the upstream, the store and the log."""
    soft, _ = getrlimit(RLIMIT_NOFILE)
    return 65_536 if soft == RLIM_INFINITY else soft * 4 // 5


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
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
    drain: int = 64 * 1024  # bytes of an unread body, before the connection is closed: Go's net/http reads 256 KiB
    linger: float = 0.5  # Go's net/http: rstAvoidanceDelay, so that the last answer is read before the reset
    closing: float = 2.0  # for the rest of a half-sent request once the listener stops
    connections: int = field(default_factory=_most_descriptors)
    per_address: int = 100  # open at once: 16 browsers of 6; nginx's example of limit_conn has 10
    sweep: float = 0.5  # how often the deadlines are looked at

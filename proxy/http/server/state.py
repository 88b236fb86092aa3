"""State that the connections of one server share: limits, number, and the timer of deadlines."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, Protocol

from proxy.errors import Overloaded
from proxy.http.client_address import Network, address_key, is_trusted
from proxy.http.fields import Fields
from proxy.http.server.limits import ConnectionLimits
from proxy.http.server.load_limit import AT_ONCE, TICK, Rank

if TYPE_CHECKING:
    from proxy.http.server.exchange import Exchange
    from proxy.http.server.overload import Overload
    from proxy.http.server.request_head import RequestHead

_AT_ONCE = 20  # connections whose deadlines are looked at in a row: some 0.1 ms, for which all requests wait

# The key of a SharedState in the lifespan state, through which an application sets the limits of its connections.
SHARED_STATE = "fal_proxy.connections"


class ServerView(Protocol):
    """The state of a uvicorn server, as far as it is read here."""

    default_headers: list[tuple[bytes, bytes]]


class ServerConnection(Protocol):
    """A connection, as far as its server calls it."""

    def drain(self) -> None: ...

    def check_timeouts(self, now: float) -> None: ...


def ignore_rejection(error_type: str, address: str, count: int) -> None:
    pass


def ignore_shutdown() -> None:
    pass


class Waiting(NamedTuple):
    """A request that waits for its start; *drop* ends it without one."""

    start: Callable[[], None]
    drop: Callable[[], None]


@dataclass(slots=True)
class SharedState:
    """Limits and counts of all connections.

    Peers in *trusted* are proxies with many clients, so no limit per address applies to them. *on_rejected* is called
    with the error type of requests or connections that the application does not see, their peer and their number.
    *on_shutdown* is called once, when the server stops accepting. *overload* refuses requests while there are too many.
    *in_flight* is the number of requests that have come whole and are not answered, *answered* of those that were.
    *waiting* are requests that start when fewer run, *unstarted* the number of those that have come whole. *stalled*
    answers wait until their client reads. *headers* are fields of every response. While *draining*, each response
    closes its connection.
    """

    limits: ConnectionLimits = field(default_factory=ConnectionLimits)
    trusted: Sequence[Network] = ()
    on_rejected: Callable[[str, str, int], None] = ignore_rejection
    on_shutdown: Callable[[], None] = ignore_shutdown
    headers: Fields = ()
    draining: bool = False
    default_headers: bytes = b""  # lines of every response, Date among them (RFC 9110 section 6.6.1)
    overload: Overload | None = None
    in_flight: int = 0
    unstarted: int = 0
    waiting: deque[Waiting] = field(default_factory=deque)
    stalled: int = 0
    answered: int = 0
    connections_per_address: Counter[str] = field(default_factory=Counter)
    connections: set[ServerConnection] = field(default_factory=set)
    overloaded: Counter[str] = field(default_factory=Counter)  # refusals by peer that were not reported yet
    _sweeping: bool = False
    _ticking: bool = False
    _stopping: bool = False

    def add(self, connection: ServerConnection, server: ServerView) -> None:
        self.connections.add(connection)
        if not self._sweeping:
            self._sweeping = True
            self._sweep(server)
            if self.overload is not None and not self._ticking:
                self._ticking = True
                self.overload.start(self.answered)
                self._schedule_tick(asyncio.get_running_loop())

    def acquire_slot(self, address: str) -> str | None:
        """Returns the key to release.

        "" for an address that is not counted, None where *address* has too many.

        An empty *address* is the peer of a Unix socket, or one that has disconnected already.
        """
        if not address or is_trusted(address, self.trusted):
            return ""
        key = address_key(address)
        if self.connections_per_address[key] >= self.limits.per_address:
            return None
        self.connections_per_address[key] += 1
        return key

    def release_slot(self, key: str | None) -> None:
        self.report_overloaded()
        if key:
            self.connections_per_address[key] -= 1
            if not self.connections_per_address[key]:
                del self.connections_per_address[key]

    def report_overloaded(self) -> None:
        """Reports the refusals of an overloaded process.

        They are summed, since one report for each would cost as much as the refusal.
        """
        if self.overloaded:
            counts, self.overloaded = self.overloaded, Counter()
            for peer, count in counts.items():
                self.on_rejected(Overloaded.error_type, peer, count)

    def drain(self) -> None:
        """Makes every response from now on close its connection; new connections are still accepted."""
        self.draining = True
        for connection in tuple(self.connections):
            connection.drain()

    def shutdown(self) -> None:
        """Drains, because the server has stopped accepting."""
        if not self._stopping:
            self._stopping = True
            self.drain()
            self.on_shutdown()

    def must_wait(self, exchange: Exchange, head: RequestHead) -> bool:
        """Returns whether a request may not start yet, because many run.

        Those that run then end while the processor's caches have their data: a thousand at once cost each a third more.
        What is never refused, as a cancel, never waits.
        """
        overload = self.overload
        if overload is None or (exchange.rank or overload.rank(head)) is Rank.KEPT:
            return False
        return bool(self.waiting) or not overload.may_start(self._running)

    def start_waiting(self) -> None:
        """Starts requests that wait, in their order, as far as few enough run."""
        while self.waiting and (self.overload is None or self.overload.may_start(self._running)):
            self.waiting.popleft().start()

    def drop_waiting(self) -> None:
        """Ends the requests that wait, without an answer of the application."""
        while self.waiting:
            self.waiting.popleft().drop()

    @property
    def _running(self) -> int:
        """Number of requests that the application works on, and that wait for no client."""
        return self.in_flight - self.unstarted - self.stalled

    def _schedule_tick(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_later(TICK, self._tick, loop, monotonic() + TICK)

    def _tick(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        """Runs one timer for the lag of the event loop, as long as there are connections."""
        self._ticking = self._sweeping and self.overload is not None
        if self._ticking and self.overload is not None:
            is_idle = self.overload.observe(due, self.in_flight, self.answered, unstarted=self.unstarted)
            # Those that run wait for a store, for keys or for a webhook's receiver.
            for _ in range(min(AT_ONCE, len(self.waiting)) if is_idle else 0):
                self.waiting.popleft().start()
            self.start_waiting()  # those that have begun to wait for fal left room, though none has ended
            self._schedule_tick(loop)

    def _sweep(self, server: ServerView) -> None:
        """Starts a look at the deadlines of all connections, as long as there are any."""
        self.report_overloaded()
        self._sweeping = bool(self.connections)
        if self._sweeping:
            self.default_headers = b"".join([b"%b: %b\r\n" % line for line in (*server.default_headers, *self.headers)])
            waiting, now = list(self.connections), asyncio.get_running_loop().time()
            self._check_some(server, waiting, now, self.limits.sweep * _AT_ONCE / max(_AT_ONCE, len(waiting)))

    def _check_some(self, server: ServerView, waiting: list[ServerConnection], due: float, pause: float) -> None:
        """Looks at some of the connections *waiting*, and at the next ones *pause* seconds after *due*.

        So a late loop is late once in a sweep, not once in each part.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in waiting[-_AT_ONCE:]:
            if connection in self.connections:
                connection.check_timeouts(now)
        del waiting[-_AT_ONCE:]
        if waiting:
            loop.call_at(due + pause, self._check_some, server, waiting, due + pause, pause)
        else:
            loop.call_at(due + pause, self._sweep, server)


def shared_state(app_state: dict[str, object]) -> SharedState:
    """Returns the state that the application's lifespan has left, or the default one of this server."""
    shared = app_state.get(SHARED_STATE)
    if not isinstance(shared, SharedState):
        shared = app_state[SHARED_STATE] = SharedState()
    return shared

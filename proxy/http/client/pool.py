"""Bounded pool of connections to one origin, with a queue of waiting requests."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic

from proxy.errors import ConnectTimedOut, DeadlineExceeded, PoolExhausted, TransportError
from proxy.http.client.connection import Connection

Waiter = asyncio.Future[TransportError | None]  # None: the slot is yours


class Pool:
    """Gives each exchange one of *size* slots, and with it a connection of its own.

    No slot can get lost: `acquire` gives it back on every exit but its return. `release` does not await, so that it
    cannot be cancelled. An idle connection is used before a new one, the last used first, so there are never more
    connections than slots.
    """

    def __init__(
        self,
        dial: Callable[[], Awaitable[Connection]],
        *,
        size: int,
        reserve: int = 0,
        connect_timeout: float,
        acquire_timeout: float,
        max_idle: float,
    ) -> None:
        self._dial = dial
        self.size = size
        self.waits = 0  # requests that had to wait for a slot
        self.connects = 0
        self._connect_timeout = connect_timeout
        self._acquire_timeout = acquire_timeout
        self._max_idle = max_idle
        self._free = size
        self._reserve = reserve
        # Ordered: the longest wait first. False: empty while more slots than the reserve are free.
        self._waiting: dict[Waiter, bool] = {}
        self._idle: deque[Connection] = deque()
        self._connected: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def active(self) -> int:
        return self.size - self._free

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def acquire_idle(self, *, reserved: bool = False) -> Connection | None:
        """Returns an idle connection as `acquire` does, None where `acquire` has to wait or to connect."""
        if self._closed or self._free <= (0 if reserved else self._reserve):
            return None
        connection = self._reuse()
        if connection is not None:
            self._free -= 1
        return connection

    async def acquire(self, deadline: float, *, reserved: bool = False) -> Connection:
        """Returns a connection, to be given back by `release`.

        *reserved* requests may use the reserve of the pool.

        Raises PoolExhausted, ConnectFailed or DeadlineExceeded, nothing sent.
        """
        if self._closed:
            raise PoolExhausted("the pool is closed")
        if self._free > (0 if reserved else self._reserve):
            self._free -= 1
        else:
            await self._wait_for_slot(deadline, reserved)
        try:
            return self._reuse() or await self._connect(deadline)
        except BaseException:
            self._release_slot()
            raise

    def release(self, connection: Connection) -> None:
        """Ends the exchange on it: one that is not complete, or not to be repeated, closes the connection."""
        try:
            if connection.finish():
                self._return_idle(connection)
        finally:
            self._release_slot()

    async def aclose(self) -> None:
        """Closes every connection, those in use too; returns when they are closed."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for waiter in self._waiting:
            fail_waiter(waiter, PoolExhausted("the pool is closed"))
        closing = [connection.lost for connection in self._connected]
        for connection in self._connected:
            connection.abort()
        if closing:
            await asyncio.wait(closing)

    async def _wait_for_slot(self, deadline: float, reserved: bool) -> None:
        self.waits += 1
        loop = asyncio.get_running_loop()
        waiter: Waiter = loop.create_future()
        limit = loop.time() + self._acquire_timeout
        late: TransportError = PoolExhausted(f"no free connection in {self._acquire_timeout} s")
        if deadline < limit:
            late = DeadlineExceeded("no free connection before the deadline", sent=False)
        timer = loop.call_at(min(limit, deadline), fail_waiter, waiter, late)
        self._waiting[waiter] = reserved
        try:
            refusal = await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled() and waiter.result() is None:
                self._release_slot()  # granted and cancelled in the same turn of the loop
            raise
        finally:
            timer.cancel()
            self._waiting.pop(waiter, None)
        if refusal is not None:
            raise refusal

    def _release_slot(self) -> None:
        """Hands the slot to the longest wait that may have it, so that no new request can overtake."""
        for waiter, reserved in self._waiting.items():
            if not waiter.done() and (reserved or self._free >= self._reserve):
                waiter.set_result(None)
                del self._waiting[waiter]
                return
        self._free += 1

    async def _connect(self, deadline: float) -> Connection:
        limit = asyncio.get_running_loop().time() + self._connect_timeout
        try:
            async with asyncio.timeout_at(min(limit, deadline)):
                connection = await self._dial()
        except TimeoutError as error:
            if deadline < limit:
                raise DeadlineExceeded("not connected before the deadline", sent=False) from error
            raise ConnectTimedOut(f"not connected in {self._connect_timeout} s") from error
        self.connects += 1
        self._connected.add(connection)
        connection.lost.add_done_callback(lambda _: self._discard(connection))
        if self._closed:
            connection.abort()
            raise PoolExhausted("the pool is closed")
        return connection

    def _reuse(self) -> Connection | None:
        oldest = monotonic() - self._max_idle
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_since > oldest and connection.is_idle_and_clean():
                return connection
            connection.abort()
        return None

    def _return_idle(self, connection: Connection) -> None:
        connection.idle_since = monotonic()
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(self._max_idle, self._sweep)

    def _sweep(self) -> None:
        """Closes what was idle too long.

        `_reuse` is exact about that; this closes those that no request uses.
        """
        self._sweeper = None
        oldest = monotonic() - self._max_idle
        while self._idle and self._idle[0].idle_since <= oldest:
            self._idle.popleft().abort()
        if self._idle:
            self._sweeper = asyncio.get_running_loop().call_later(self._max_idle, self._sweep)

    def _discard(self, connection: Connection) -> None:
        self._connected.discard(connection)
        with suppress(ValueError):
            self._idle.remove(connection)


def fail_waiter(waiter: Waiter, error: TransportError) -> None:
    if not waiter.done():
        waiter.set_result(error)

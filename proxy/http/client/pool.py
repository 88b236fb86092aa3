"""A bounded pool of connections: who may use one, who waits, which one is used again."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic

from proxy.errors import ConnectFailed, DeadlineExceeded, PoolExhausted, TransportError
from proxy.http.client.connection import Connection

Waiter = asyncio.Future[TransportError | None]  # None: the slot is yours


class Pool:
    """Gives each exchange one of *size* slots, and with it a connection of its own.

    No slot can get lost: `acquire` gives it back on every way out but its return, and `release` does not await, so no
    cancellation can fall into it. An idle connection goes before a new one, the last used first, so there are never
    more connections than slots.
    """

    def __init__(
        self,
        dial: Callable[[], Awaitable[Connection]],
        *,
        size: int,
        connect_timeout: float,
        acquire_timeout: float,
        max_idle: float,
    ) -> None:
        self._dial = dial
        self._size = size
        self._connect_timeout = connect_timeout
        self._acquire_timeout = acquire_timeout
        self._max_idle = max_idle
        self._free = size
        self._waiting: dict[Waiter, None] = {}  # an ordered set; empty while a slot is free
        self._idle: deque[Connection] = deque()
        self._connected: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def active(self) -> int:
        return self._size - self._free

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def acquire(self, deadline: float) -> Connection:
        """Give it back by `release`. Raises PoolExhausted, ConnectFailed or DeadlineExceeded, nothing sent."""
        if self._closed:
            raise PoolExhausted("the pool is closed")
        if self._free:
            self._free -= 1
        else:
            await self._queue(deadline)
        try:
            return self._reuse() or await self._connect(deadline)
        except BaseException:
            self._hand_on()
            raise

    def release(self, connection: Connection) -> None:
        """Ends the exchange on it: one that is not complete, or not to be repeated, closes the connection."""
        try:
            if connection.finish():
                self._keep(connection)
        finally:
            self._hand_on()

    async def aclose(self) -> None:
        """Closes every connection, those in use too; returns when they are closed."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for waiter in self._waiting:
            refuse(waiter, PoolExhausted("the pool is closed"))
        closing = [connection.lost for connection in self._connected]
        for connection in self._connected:
            connection.abort()
        if closing:
            await asyncio.wait(closing)

    async def _queue(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        waiter: Waiter = loop.create_future()
        limit = loop.time() + self._acquire_timeout
        late: TransportError = PoolExhausted(f"no free connection in {self._acquire_timeout} s")
        if deadline < limit:
            late = DeadlineExceeded("no free connection before the deadline", sent=False)
        timer = loop.call_at(min(limit, deadline), refuse, waiter, late)
        self._waiting[waiter] = None
        try:
            refusal = await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled() and waiter.result() is None:
                self._hand_on()  # granted and cancelled in the same turn of the loop
            raise
        finally:
            timer.cancel()
            self._waiting.pop(waiter, None)
        if refusal is not None:
            raise refusal

    def _hand_on(self) -> None:
        """The slot goes to whoever has waited longest, so that nobody who comes now can overtake."""
        for waiter in self._waiting:
            if not waiter.done():
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
            raise ConnectFailed(f"not connected in {self._connect_timeout} s") from error
        self._connected.add(connection)
        connection.lost.add_done_callback(lambda _: self._forget(connection))
        if self._closed:
            connection.abort()
            raise PoolExhausted("the pool is closed")
        return connection

    def _reuse(self) -> Connection | None:
        oldest = monotonic() - self._max_idle
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_since > oldest and connection.is_quiet():
                return connection
            connection.abort()
        return None

    def _keep(self, connection: Connection) -> None:
        connection.idle_since = monotonic()
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(self._max_idle, self._sweep)

    def _sweep(self) -> None:
        """Closes what was idle too long. `_reuse` is exact about that; this only sees to those nobody asks for."""
        self._sweeper = None
        oldest = monotonic() - self._max_idle
        while self._idle and self._idle[0].idle_since <= oldest:
            self._idle.popleft().abort()
        if self._idle:
            self._sweeper = asyncio.get_running_loop().call_later(self._max_idle, self._sweep)

    def _forget(self, connection: Connection) -> None:
        self._connected.discard(connection)
        with suppress(ValueError):
            self._idle.remove(connection)


def refuse(waiter: Waiter, error: TransportError) -> None:
    if not waiter.done():
        waiter.set_result(error)

"""Client of the Redis or Valkey server that several workers share.

Calls of one event-loop turn are written together, and nothing waits for earlier replies. A caller only awaits a
future, so a cancelled caller never leaves a half-read reply behind (redis-py handed such replies to the next user,
CVE-2023-28858).

Time-outs count ticks instead of seconds. An event loop that is late delivers its ticks late, and it reads the sockets
between two ticks. Thus a busy worker never takes its own delay for a dead store.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from redis.exceptions import NoScriptError, RedisError, ResponseError

from proxy.errors import Overloaded, StoreAway
from proxy.storage.redis_connection import Command, PipelinedConnection
from proxy.storage.redis_topology import topology

MAX_FAILURES = 3  # lost connections and failed attempts to connect, without a reply in between, that open the breaker
PROBE_INTERVAL = 0.5  # seconds between two probes of an open breaker
TIMEOUT_TICKS = 10  # a call times out after this many ticks, each a tenth of the time-out
STALL_TICKS = 20  # a connection is closed when calls wait for a reply and none has arrived for this many ticks
MAX_WRITE = 200  # commands written at once
# Calls that are written at once, or as many as are in flight if these are more. Written some turns of the event loop
# later, all requests of a few dozen clients would move in step. Then this process waits for the server, and the server
# for this process.
EARLY_WRITE = 8
# Seconds after a reply in which the connection cannot have been closed as idle: the server's `timeout` is 1 or more.
IN_USE = 0.5
# Pending calls above which a call is refused. A request's first call has the lower limit: refusing a later one wastes
# what was done before. With fewer, a burst would be refused that is served within a second.
FIRST_CALL_QUEUE = 1_000
LATER_CALL_QUEUE = 2_000
RETRY_AFTER = 2  # seconds


@dataclass(frozen=True, slots=True)
class Script:
    """Lua script that runs as one atomic step. Every key that it writes must get a TTL."""

    text: str
    source: bytes = field(init=False, repr=False)
    sha: bytes = field(init=False)

    def __post_init__(self) -> None:
        source = self.text.encode()
        object.__setattr__(self, "source", source)
        # Redis names scripts by their SHA-1.
        object.__setattr__(self, "sha", hashlib.sha1(source, usedforsecurity=False).hexdigest().encode())


@dataclass(slots=True, eq=False)
class _Call:
    """One command and its reply. *fallback* carries the script's text, for a server that lacks the script."""

    command: Command
    fallback: Command
    reply: asyncio.Future[object]
    on_unknown: Callable[[], None] | None
    sent_tick: int = 0
    sent_at: float = 0.0

    def fail(self, error: Exception, *, may_have_run: bool) -> None:
        if may_have_run and self.on_unknown is not None:
            self.on_unknown()
        self.on_unknown = None
        if not self.reply.done():
            self.reply.set_exception(error)


class RedisStore:
    """Runs scripts on the server that *url* names; every key gets *prefix*.

    *timeout* is the time in seconds from the sending of a command to the arrival of its reply in this process.
    Connecting has the same time. Calls fail at once after repeated failures, and after STALL_TICKS without a reply,
    until a PING in the background gets its reply. A reply that arrives late fails its own call only.

    `failures` counts calls that failed, `shed` refused ones, `replies` and `reply_seconds` measure the latency.

    Raises ValueError, without the URL, for an invalid URL.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 1.0,
        prefix: str = "fal-proxy:",
    ) -> None:
        servers = topology(url, prefix.encode())
        self._tick_seconds = timeout / TIMEOUT_TICKS
        self._prefix = prefix.encode().join(servers.tag)
        self._connection = PipelinedConnection(servers, on_reply=self._on_reply, on_lost=self._fail_sent)
        self._failures_in_a_row = 0
        self._probe: asyncio.Task[None] | None = None
        self._queue: list[_Call] = []
        self._in_flight: deque[_Call] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._ticks = 0
        self._timer: asyncio.TimerHandle | None = None
        self._last_reply_tick = 0
        self._last_reply_at = -IN_USE
        self._connecting: tuple[asyncio.Timeout, int] | None = None
        self._closed = False
        self.failures = 0
        self.shed = 0
        self.replies = 0
        self.reply_seconds = 0.0

    @property
    def pending(self) -> int:
        """Calls that have no reply yet."""
        return len(self._queue) + len(self._in_flight)

    @property
    def breaker_is_open(self) -> bool:
        return self._probe is not None

    async def run(
        self,
        script: Script,
        keys: Sequence[str],
        args: Sequence[bytes | str | int],
        *,
        shed_above: int | None = None,
        on_unknown: Callable[[], None] | None = None,
    ) -> object:
        """Returns the script's result as RESP2 has it: bytes, int, None or a list of these.

        The call is refused while more than *shed_above* calls wait for a reply. No command is sent twice. After
        StoreAway the script may have run. *on_unknown* is called where it may have run and its caller gets no result:
        because of StoreAway, or because the caller was cancelled.

        Raises StoreAway, and Overloaded where it was refused; then it has not run.
        """
        # Encoded here, so that text which cannot be encoded fails its own caller and not the whole batch.
        rest = [b"%d" % len(keys)]
        rest += [self._prefix + key.encode() for key in keys]
        rest += [arg if isinstance(arg, bytes) else str(arg).encode() for arg in args]
        if self.breaker_is_open:
            raise self._away("the breaker is open")
        if shed_above is not None and self.pending > shed_above:
            self.shed += 1
            raise Overloaded(retry_after=RETRY_AFTER, reason="store: too many calls wait for a reply")
        return await self._call((b"EVALSHA", script.sha, *rest), (b"EVAL", script.source, *rest), on_unknown)

    async def ping(self) -> None:
        """Sends PING even while the breaker is open; the reply closes the breaker. Raises StoreAway."""
        await self._call((b"PING",), (b"PING",))

    async def aclose(self) -> None:
        """Refuses new calls, waits for those that are pending and closes the connection."""
        self._closed = True
        if self._probe is not None:
            self._probe.cancel()
        if waiting := [call.reply for call in (*self._queue, *self._in_flight) if not call.reply.done()]:
            await asyncio.wait(waiting)
        if self._sender is not None:
            await asyncio.wait({self._sender})
        await self._connection.close()
        if self._timer is not None:
            self._timer.cancel()

    async def _call(self, command: Command, fallback: Command, on_unknown: Callable[[], None] | None = None) -> object:
        if self._closed:
            raise self._away("closed")
        call = _Call(command, fallback, asyncio.get_running_loop().create_future(), on_unknown)
        self._enqueue(call)
        try:
            return await call.reply
        except asyncio.CancelledError:
            if on_unknown is not None and not call.reply.cancelled() and call.reply.exception() is None:
                on_unknown()  # The caller was cancelled after the reply had arrived.
            raise

    def _enqueue(self, call: _Call) -> None:
        self._queue.append(call)
        if len(self._queue) >= max(EARLY_WRITE, len(self._in_flight)) and self._may_write():
            self._write_queue()
        elif self._sender is None:
            self._sender = asyncio.create_task(self._send_queue())

    async def _send_queue(self) -> None:
        try:
            if not self._in_flight:
                # The server may have closed an idle connection: one turn reads the socket, one wakes the reader.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            while self._queue:
                if not self._connection.is_open:
                    await self._connect()
                await self._send_batch()
        except (RedisError, OSError, ValueError) as error:  # ValueError: redis-py raises it for bytes that are not RESP
            await self._connection.close()
            self._fail_sent(error)
            self._fail_queued(error)
        finally:
            self._sender = None
            if self._queue:  # A cancelled sender leaves the calls that came after its cancellation.
                self._sender = asyncio.create_task(self._send_queue())

    async def _connect(self) -> None:
        self._start_timer()
        try:
            async with asyncio.timeout(None) as limit:
                self._connecting = limit, self._ticks
                await self._connection.connect()
        finally:
            self._connecting = None

    def _may_write(self) -> bool:
        in_use = self._in_flight or asyncio.get_running_loop().time() - self._last_reply_at < IN_USE
        return bool(in_use) and self._connection.has_room

    def _write_queue(self) -> None:
        if batch := self._take_batch():
            self._connection.write([call.command for call in batch])

    async def _send_batch(self) -> None:
        if batch := self._take_batch():
            await self._connection.send([call.command for call in batch])
            self._note_sent(batch)

    def _take_batch(self) -> list[_Call]:
        """Moves calls from the queue to those in flight, before a write that may wait while replies arrive."""
        batch = [call for call in self._queue[:MAX_WRITE] if not call.reply.done()]
        del self._queue[:MAX_WRITE]
        if batch:
            self._note_sent(batch)
            self._in_flight.extend(batch)
            self._start_timer()
        return batch

    def _note_sent(self, batch: Iterable[_Call]) -> None:
        now = asyncio.get_running_loop().time()
        for call in batch:
            call.sent_tick = self._ticks
            call.sent_at = now

    def _on_reply(self, reply: object) -> None:
        if not self._in_flight:
            return
        call = self._in_flight.popleft()
        self._last_reply_tick = self._ticks
        self._last_reply_at = asyncio.get_running_loop().time()
        self._close_breaker()
        self.replies += 1
        self.reply_seconds += self._last_reply_at - call.sent_at
        if isinstance(reply, NoScriptError) and call.command is not call.fallback:
            self._retry_with_source(call)
        elif isinstance(reply, ResponseError):
            call.fail(self._away(f"{type(reply).__name__}: {reply}"[:120]), may_have_run=False)
        elif call.reply.done():
            call.fail(StoreAway(), may_have_run=True)
        else:
            call.on_unknown = None
            call.reply.set_result(reply)

    def _retry_with_source(self, call: _Call) -> None:
        """Sends EVAL, which also loads the script into a server that lacked it. EVALSHA has not run."""
        call.command = call.fallback
        if not call.reply.done():
            self._enqueue(call)

    def _fail_sent(self, error: Exception) -> None:
        calls = list(self._in_flight)
        self._in_flight.clear()
        self._fail(calls, error, may_have_run=True)

    def _fail_queued(self, error: Exception) -> None:
        calls = list(self._queue)
        self._queue.clear()
        self._fail(calls, error, may_have_run=False)

    def _fail(self, calls: list[_Call], error: Exception, *, may_have_run: bool) -> None:
        self._failures_in_a_row += bool(calls)
        if self._failures_in_a_row >= MAX_FAILURES:
            self._open_breaker()
        reason = f"{type(error).__name__}: {error}"[:120]
        for call in calls:
            call.fail(self._away(reason), may_have_run=may_have_run)

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._tick_seconds, self._on_tick)

    def _on_tick(self) -> None:
        self._ticks += 1
        self._timer = None
        if self._connecting is not None:
            limit, started = self._connecting
            if self._ticks - started > TIMEOUT_TICKS:
                limit.reschedule(0)
        self._expire_calls()
        if self._in_flight or self._connecting is not None:
            self._start_timer()

    def _expire_calls(self) -> None:
        """Fails the calls that have waited too long, and closes a connection from which nothing arrives."""
        for call in self._in_flight:
            if self._ticks - call.sent_tick <= TIMEOUT_TICKS:
                break
            if not call.reply.done() or call.on_unknown is not None:
                call.fail(self._away("no reply in time"), may_have_run=True)
        if self._in_flight and self._ticks - max(self._last_reply_tick, self._in_flight[0].sent_tick) > STALL_TICKS:
            self._connection.abandon()
            self._open_breaker()
            if self._sender is not None:
                self._sender.cancel()  # It may wait for a write buffer that never empties.
            self._fail_sent(TimeoutError("no reply in time"))

    def _open_breaker(self) -> None:
        if self._probe is None and not self._closed:
            self._probe = asyncio.create_task(self._probe_until_reply())

    def _close_breaker(self) -> None:
        self._failures_in_a_row = 0
        if self._probe is not None:
            self._probe.cancel()
            self._probe = None

    async def _probe_until_reply(self) -> None:
        """Sends PING at intervals; the first reply to any command ends this task."""
        while True:
            await asyncio.sleep(PROBE_INTERVAL)
            with suppress(StoreAway):
                await self.ping()

    def _away(self, reason: str) -> StoreAway:
        self.failures += 1
        return StoreAway(reason=f"store: {reason}")

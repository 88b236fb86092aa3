"""The one door to Redis or Valkey, for everything that several workers share.

Calls of one event-loop tick, and those that come while every connection is busy, travel together: one write, one round
trip. A batch runs in a task of its own and its callers only wait for futures, so a caller that is cancelled takes
nothing with it (in redis-py, cancelling a command half-way once handed its answer to the next user, CVE-2023-28858).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from redis.exceptions import ClusterDownError, MovedError, NoScriptError, ReadOnlyError, RedisError, ResponseError

from proxy.circuit_breaker import Breaker, BreakerSettings
from proxy.errors import StoreAway
from proxy.storage.redis_topology import Topology, topology

# A batch carries many calls, so a few failed batches say enough, and one a second is enough to notice the return.
BREAKER = BreakerSettings(window=0.5, minimum=3, ratio=0.5, probe_every=1.0)

Command = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Script:
    """Lua that runs as one atomic step. Every key it writes must get a TTL."""

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
    """*fallback* is sent where the server does not know the script of *command*: the same with the script's text."""

    command: Command
    fallback: Command
    deadline: float
    answer: asyncio.Future[object]
    lost: Callable[[], None] | None


class _Lane:
    """One connection, used by one batch at a time."""

    def __init__(self, servers: Topology) -> None:
        self._servers = servers
        self._connection = servers.connection()

    async def exchange(self, commands: Sequence[Command]) -> list[object]:
        """The answers in order; one that is an error is a ResponseError among them.

        Raises RedisError and OSError. Unless all answers came the connection is dropped: some may be on their way.
        """
        complete = False
        try:
            await self._connect()
            await self._connection.send_packed_command(b"".join(map(_packed, commands)))
            answers = [await self._answer() for _ in commands]
            complete = True
        finally:
            if not complete:
                await self.drop()
        return answers

    async def drop(self) -> None:
        await self._connection.disconnect(nowait=True)

    async def _connect(self) -> None:
        if self._connection.is_connected and await self._connection.can_read():
            await self.drop()  # nothing is owed to us, so this is the end: the server closed it meanwhile
        if not self._connection.is_connected:
            await self._servers.connect(self._connection)

    async def _answer(self) -> object:
        try:
            answer: object = await self._connection.read_response()
        except (ReadOnlyError, MovedError, ClusterDownError):
            raise  # this server is no longer the one to ask; connecting anew finds the other one
        except ResponseError as error:
            return error
        return answer


def _packed(command: Command) -> bytes:
    """RESP's array of bulk strings; redis-py's own packing takes most of the time of a call."""
    bulks = [b"$%d\r\n%b\r\n" % (len(part), part) for part in command]
    return b"*%d\r\n%b" % (len(command), b"".join(bulks))


class RedisStore:
    """*timeout* seconds are all a call may take, waiting and connecting included.

    After repeated failures calls fail at once, but for a probe each second. Every key gets *prefix*. Raises ValueError,
    without the URL, for one that is no good.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 0.1,
        prefix: str = "fal-proxy:",
        connections: int = 2,
        clock: Callable[[], float],
    ) -> None:
        self._timeout = timeout
        servers = topology(url, prefix.encode())
        self._prefix = prefix.encode().join(servers.tag)
        self._lanes = [_Lane(servers) for _ in range(connections)]
        self._breaker = Breaker(BREAKER, clock=clock)
        self._waiting: list[_Call] = []
        self._batches: set[asyncio.Task[None]] = set()
        self._closed = False
        self.failures = 0

    async def run(
        self,
        script: Script,
        keys: Sequence[str],
        args: Sequence[bytes | str | int],
        *,
        lost: Callable[[], None] | None = None,
    ) -> object:
        """What *script* returned, as redis-py reads RESP2: bytes, int, None or a list of these. Raises StoreAway.

        Nothing is ever sent twice: after StoreAway the script may have run or not. *lost* is called where it may have
        run and its caller does not learn what it returned, be it for StoreAway or because the caller was cancelled.
        """
        # Encoded here, so that text which cannot be is its own caller's error and not the whole batch's.
        rest = [b"%d" % len(keys)]
        rest += [self._prefix + key.encode() for key in keys]
        rest += [arg if isinstance(arg, bytes) else str(arg).encode() for arg in args]
        if not self._breaker.allows():
            raise self._away("the breaker is open")
        return await self._call((b"EVALSHA", script.sha, *rest), (b"EVAL", script.source, *rest), lost)

    async def ping(self) -> None:
        """Asks the server whatever the breaker says, and tells the breaker. Raises StoreAway."""
        await self._call((b"PING",), (b"PING",))

    async def aclose(self) -> None:
        """Refuses what waits, lets batches under way end (within *timeout*), closes the connections."""
        self._closed = True
        self._refuse(self._waiting, "closed")
        await asyncio.gather(*self._batches)
        for lane in self._lanes:
            await lane.drop()

    async def _call(self, command: Command, fallback: Command, lost: Callable[[], None] | None = None) -> object:
        if self._closed:
            raise self._away("closed")
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._depart)
        call = _Call(command, fallback, loop.time() + self._timeout, loop.create_future(), lost)
        self._waiting.append(call)
        try:
            return await call.answer
        except asyncio.CancelledError:
            if lost is not None and not call.answer.cancelled():
                lost()  # cancelled between the answer's coming and its caller's waking up
            raise

    def _depart(self) -> None:
        """Sends all that wait on a free connection; where there is none, the next batch to end calls again."""
        batch = [call for call in self._waiting if not call.answer.done()]
        if batch and self._lanes:
            task = asyncio.create_task(self._travel(self._lanes.pop(), batch))
            self._batches.add(task)
            task.add_done_callback(self._batches.discard)
            batch = []
        self._waiting = batch

    async def _travel(self, lane: _Lane, batch: list[_Call]) -> None:
        # The first call has the earliest deadline. Those who came later get less than their time only when the store
        # is failing anyway; in return no call needs a timer of its own.
        reason = "the batch was abandoned"
        try:
            async with asyncio.timeout_at(batch[0].deadline):
                answers = await self._exchange(lane, batch)
        except (RedisError, OSError, ValueError) as error:  # ValueError: redis-py on what is not RESP
            reason = f"{type(error).__name__}: {error}"[:120]
            self._breaker.record(ok=False)
        else:
            self._breaker.record(ok=True)
            self._deliver(batch, answers)
        finally:
            self._refuse(batch, reason)
            self._lanes.append(lane)
            self._depart()

    async def _exchange(self, lane: _Lane, batch: list[_Call]) -> list[object]:
        answers = await lane.exchange([call.command for call in batch])
        unknown = [i for i, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            # EVAL also loads the script, and it does so on the very node that lacked it.
            again = await lane.exchange([batch[i].fallback for i in unknown])
            for i, answer in zip(unknown, again, strict=True):
                answers[i] = answer
        return answers

    def _deliver(self, batch: Iterable[_Call], answers: Iterable[object]) -> None:
        for call, answer in zip(batch, answers, strict=True):
            if call.answer.done():
                continue
            call.lost = None
            if isinstance(answer, ResponseError):
                call.answer.set_exception(self._away(f"{type(answer).__name__}: {answer}"[:120]))
            else:
                call.answer.set_result(answer)

    def _refuse(self, calls: Iterable[_Call], reason: str) -> None:
        for call in calls:
            if call.lost is not None:
                call.lost()
            if not call.answer.done():
                call.answer.set_exception(self._away(reason))

    def _away(self, reason: str) -> StoreAway:
        self.failures += 1
        return StoreAway(reason=f"store: {reason}")

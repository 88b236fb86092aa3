"""Connection to Redis or Valkey that pipelines commands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

from redis.exceptions import ClusterDownError, MovedError, ReadOnlyError, RedisError, ResponseError

from proxy.storage.redis_topology import Topology

Command = tuple[bytes, ...]

MAX_BUFFERED = 65_536  # bytes that wait for the socket, from which `write` would have to wait


class PipelinedConnection:
    """Connection that sends commands at any time and delivers their replies in the same order.

    A task reads replies for as long as the connection is open. `on_reply` gets each reply; an error reply is a
    ResponseError. `on_lost` is called once when the connection ends for any other reason than `close`.
    """

    def __init__(
        self, topology: Topology, *, on_reply: Callable[[object], None], on_lost: Callable[[Exception], None]
    ) -> None:
        self._topology = topology
        self._on_reply = on_reply
        self._on_lost = on_lost
        self._connection = topology.connection()
        self._reader: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        return self._reader is not None and self._connection.is_connected

    @property
    def has_room(self) -> bool:
        """True where the connection is open and its write buffer is not full, so that `write` may be called."""
        writer = self._writer
        if writer is None or writer.transport.is_closing():
            return False
        return writer.transport.get_write_buffer_size() < MAX_BUFFERED

    @property
    def _writer(self) -> asyncio.StreamWriter | None:
        # redis-py has no public way to write without waiting. Where a later version lacks this one, `send` is left.
        return getattr(self._connection, "_writer", None) if self.is_open else None

    async def connect(self) -> None:
        """Opens the connection to the server that the topology names now. Raises RedisError and OSError."""
        await self._connection.disconnect(nowait=True)
        connected = False
        try:
            await self._topology.connect(self._connection)
            connected = True
        finally:
            if not connected:
                await self._connection.disconnect(nowait=True)
        self._reader = asyncio.create_task(self._read())

    async def send(self, commands: Sequence[Command]) -> None:
        """Writes the commands; waits while the write buffer is full. Raises RedisError and OSError."""
        await self._connection.send_packed_command(b"".join(map(_encode, commands)))

    def write(self, commands: Sequence[Command]) -> None:
        """Writes the commands without waiting. The connection must have room."""
        cast(asyncio.StreamWriter, self._writer).write(b"".join(map(_encode, commands)))

    def abandon(self) -> None:
        """Ends the delivery of replies at once; the socket is closed by `close` or before the next `connect`."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()

    async def close(self) -> None:
        """Closes the connection without a call of `on_lost`."""
        self.abandon()
        await self._connection.disconnect(nowait=True)

    async def _read(self) -> None:
        try:
            while True:
                self._on_reply(await self._read_reply())
        except (RedisError, OSError, ValueError) as error:  # ValueError: redis-py raises it for bytes that are not RESP
            self._reader = None
            await self._connection.disconnect(nowait=True)
            self._on_lost(error)

    async def _read_reply(self) -> object:
        try:
            reply: object = await self._connection.read_response()
        except (ReadOnlyError, MovedError, ClusterDownError):
            raise  # Another server is responsible now. The topology finds it when the connection is opened again.
        except ResponseError as error:
            return error
        return reply


def _encode(command: Command) -> bytes:
    """Returns a command as a RESP array of bulk strings; redis-py's own encoder is slow."""
    bulks = [b"$%d\r\n%b\r\n" % (len(part), part) for part in command]
    return b"*%d\r\n%b" % (len(command), b"".join(bulks))

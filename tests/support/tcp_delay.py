"""TCP proxy that delivers every byte after a settable delay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class TcpDelay:
    """Relay to a port of this host.

    *seconds* is the delay of each direction, and may be changed at any time.
    """

    def __init__(self, port: int, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.port = 0
        self.connections = 0
        self._upstream_port = port
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """URL of a Redis behind the relay."""
        return f"redis://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        pumps = [self._pump(reader, upstream_writer), self._pump(upstream_reader, writer)]
        self._tasks.update(map(asyncio.ensure_future, pumps))

    async def aclose(self) -> None:
        while self._tasks:
            tasks, self._tasks = self._tasks, set()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        self._tasks.add(asyncio.create_task(self._deliver(queue, writer)))
        try:
            with suppress(OSError):
                while data := await reader.read(65_536):
                    queue.put_nowait((loop.time() + self.seconds, data))
        finally:
            queue.put_nowait((0.0, b""))

    async def _deliver(self, queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        try:
            while (item := await queue.get())[1]:
                await asyncio.sleep(item[0] - loop.time())
                writer.write(item[1])
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


@asynccontextmanager
async def tcp_delay(port: int, seconds: float = 0.0) -> AsyncIterator[TcpDelay]:
    """Serves a TcpDelay in front of *port* of this host."""
    delay = TcpDelay(port, seconds)
    server = await asyncio.start_server(delay.serve, "127.0.0.1", 0)
    delay.port = server.sockets[0].getsockname()[1]
    try:
        yield delay
    finally:
        server.close()
        await delay.aclose()

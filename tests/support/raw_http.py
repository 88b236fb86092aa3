"""A client that sends raw bytes and returns the answer, for requests that no library sends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

PATIENCE = 5.0  # seconds; only ever waited for in full by a test that fails
SEGMENT_GAP = 0.02  # seconds between two segments, so that they arrive as two


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[bytes, bytes]
    body: bytes


class RawConnection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, *segments: bytes) -> None:
        """Raises ConnectionError when the other side has closed."""
        for number, segment in enumerate(segments):
            if number:
                await asyncio.sleep(SEGMENT_GAP)
            self._writer.write(segment)
            await self._writer.drain()

    async def reply(self) -> Reply:
        """Reads the next response. Raises asyncio.IncompleteReadError where the connection ends before."""
        async with asyncio.timeout(PATIENCE):
            head = await self._reader.readuntil(b"\r\n\r\n")
            status, headers = _head(head)
            return Reply(status, headers, await self._content(headers))

    async def read_some(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self._reader.read(65536)

    async def until_closed(self) -> bytes:
        """Returns all that comes until the other side closes, however it does that."""
        received = bytearray()
        async with asyncio.timeout(PATIENCE):
            try:
                while some := await self._reader.read(65536):
                    received += some
            except ConnectionError:
                pass
        return bytes(received)

    async def _content(self, headers: dict[bytes, bytes]) -> bytes:
        if headers.get(b"transfer-encoding") != b"chunked":
            return await self._reader.readexactly(int(headers.get(b"content-length", b"0")))
        content = b""
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            content += (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readexactly(2)
        return content


@asynccontextmanager
async def dial(address: tuple[str, int]) -> AsyncIterator[RawConnection]:
    reader, writer = await asyncio.open_connection(*address)
    try:
        yield RawConnection(reader, writer)
    finally:
        writer.transport.abort()


async def exchange(address: tuple[str, int], segments: Iterable[bytes], *, endless: bytes = b"") -> list[Reply]:
    """Returns every answer to *segments* and then to *endless*, repeated until the other side closes.

    A last answer cut short is not among them. Raises TimeoutError when the other side does not close.
    """
    async with dial(address) as connection:
        feeding = asyncio.create_task(_feed(connection, segments, endless))
        received = await connection.until_closed()
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)
    return replies(received)


async def _feed(connection: RawConnection, segments: Iterable[bytes], endless: bytes) -> None:
    await connection.send(*segments)
    while endless:
        await connection.send(endless)
        await asyncio.sleep(0)


def replies(received: bytes) -> list[Reply]:
    """Returns the whole responses in *received*, which must all have a Content-Length."""
    found = []
    while b"\r\n\r\n" in received:
        head, _, rest = received.partition(b"\r\n\r\n")
        status, headers = _head(head)
        length = int(headers.get(b"content-length", b"0"))
        if len(rest) < length:
            break
        found.append(Reply(status, headers, rest[:length]))
        received = rest[length:]
    return found


def _head(head: bytes) -> tuple[int, dict[bytes, bytes]]:
    status_line, *lines = head.rstrip(b"\r\n").split(b"\r\n")
    fields = (line.partition(b":") for line in lines)
    return int(status_line.split(b" ", 2)[1]), {name.lower(): value.strip() for name, _, value in fields}

"""Many clients in one event loop: each request on a free connection or a new one, with a time-out."""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

_HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CLOSED, LATE, UNREACHABLE = -1, -2, -3  # in the place of a status


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer to one request of *kind*, or why there is none. Times in seconds; *at* is when it was due."""

    kind: str
    at: float
    seconds: float
    status: int

    @property
    def served(self) -> bool:
        return 200 <= self.status < 300


class _Client(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._received = b""
        self.done: Callable[[int], None] | None = None
        self.transport: asyncio.Transport | None = None

    def send(self, request: bytes) -> asyncio.Future[int]:
        """Returns the status of the answer to *request*, or CLOSED."""
        answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.done = lambda status: None if answered.done() else answered.set_result(status)
        if self.transport is not None:
            self.transport.write(request)
        return answered

    def give_up(self) -> None:
        """Closes the connection, whatever comes."""
        self.done = None
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is not derived from it

    def data_received(self, data: bytes) -> None:
        self._received += data
        assert self.transport is not None
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        if not separator or self.done is None:
            return
        status, length = _HEAD.match(head), _LENGTH.search(head)
        if len(rest) < (int(length[1]) if length else 0):
            return
        self._received = b""
        done, self.done = self.done, None
        if b"\r\nconnection: close" in head.lower():
            self.transport.close()
        else:
            self._crowd.idle.append(self)
        done(int(status[1]) if status else CLOSED)

    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.forget(self)
        if self.done is not None:
            done, self.done = self.done, None
            done(CLOSED)


class Crowd:
    """Clients of 127.0.0.1:*port* that give up after *timeout* seconds. *answers* has each result."""

    def __init__(self, port: int, *, timeout: float = 10.0) -> None:
        self._port = port
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._open: set[_Client] = set()
        self.idle: deque[_Client] = deque()
        self.answers: list[Answer] = []

    def forget(self, client: _Client) -> None:
        self._open.discard(client)
        if client in self.idle:
            self.idle.remove(client)

    async def ask(self, kind: str, request: bytes) -> Answer:
        """Sends *request* and waits for its answer, which is added to *answers*."""
        began = time.monotonic()  # the time of uvloop is one of whole milliseconds
        client: _Client | None = None
        try:
            async with asyncio.timeout(self._timeout):
                client = await self._client()
                status = await client.send(request)
        except TimeoutError:
            status = LATE
            if client is not None:
                client.give_up()
        except OSError:
            status = UNREACHABLE
        answer = Answer(kind, began, time.monotonic() - began, status)
        self.answers.append(answer)
        return answer

    async def _client(self) -> _Client:
        while self.idle:
            client = self.idle.pop()
            if client.transport is not None and not client.transport.is_closing():
                return client
        _, client = await self._loop.create_connection(lambda: _Client(self), "127.0.0.1", self._port)
        self._open.add(client)
        return client

    def close(self) -> None:
        for client in tuple(self._open):
            client.give_up()

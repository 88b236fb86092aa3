"""Closed-loop clients in one event loop: each sends its next request once the last one is answered.

A client that was refused waits for the Retry-After first. The clients are protocols on uvloop. Streams of asyncio cost
more CPU time a request, so that the core of the clients, the upstream and the store would be the limit.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import uvloop

_REFUSED = (429, 503)
_RETRY = 0.1  # seconds until a connection that was lost is opened again
_TICK = 0.01  # seconds


@dataclass(slots=True)
class Outcomes:
    """Outcomes of one load, times in seconds. *refused* are 429 and 503, *failed* all other failures.

    *lag* is the greatest lateness of the clients' own event loop, *busy* the share of a core that they used.
    """

    served: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    failed: int = 0
    lag: float = 0.0
    busy: float = 0.0


class _Client(asyncio.Protocol):
    """One connection with one request under way."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._received = b""
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not derived from it
        self._load.open.add(self)
        self.send()

    def send(self) -> None:
        if self._transport.is_closing():  # lost while it waited its Retry-After; another connection takes its place
            return
        self._sent_at = time.perf_counter()
        self._transport.write(next(self._load.source))

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        if not separator or len(rest) < _number(head, b"\r\ncontent-length: ", 0):
            return
        self._received = b""
        seconds, outcomes = time.perf_counter() - self._sent_at, self._load.outcomes
        status = int(head[9:12])
        if status in _REFUSED:
            outcomes.refused.append(seconds)
            self._load.loop.call_later(_number(head, b"\r\nretry-after: ", 1), self.send)
            return
        if status == 200:
            outcomes.served.append(seconds)
        else:
            outcomes.failed += 1
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.open.discard(self)
        if self._load.running:
            self._load.outcomes.failed += 1
            self._load.loop.call_later(_RETRY, self._load.connect)

    def close(self) -> None:
        self._transport.abort()


class _Load:
    """Clients of 127.0.0.1:*port* that send the requests of *source* in turn."""

    def __init__(self, port: int, source: Iterator[bytes]) -> None:
        self.source = source
        self.outcomes = Outcomes()
        self.loop = asyncio.get_running_loop()
        self.open: set[_Client] = set()
        self.running = True
        self._port = port
        self._connecting: set[asyncio.Task[None]] = set()

    def connect(self) -> None:
        if self.running:
            task = self.loop.create_task(self._connect())
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self) -> None:
        try:
            await self.loop.create_connection(lambda: _Client(self), "127.0.0.1", self._port)
        except OSError:
            self.outcomes.failed += 1
            self.loop.call_later(_RETRY, self.connect)

    async def watch(self, seconds: float) -> None:
        """Waits *seconds*, and notes how late the event loop is meanwhile."""
        until = time.perf_counter() + seconds
        while (now := time.perf_counter()) < until:
            await asyncio.sleep(_TICK)
            self.outcomes.lag = max(self.outcomes.lag, time.perf_counter() - now - _TICK)

    def close(self) -> None:
        self.running = False
        for client in tuple(self.open):
            client.close()


def drive(port: int, source: Iterator[bytes], count: int, seconds: float) -> Outcomes:
    """Returns the outcomes of *count* connections in *seconds*."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_drive(port, source, count, seconds))


async def _drive(port: int, source: Iterator[bytes], count: int, seconds: float) -> Outcomes:
    load, used = _Load(port, source), _cpu()
    for _ in range(count):
        load.connect()
    await load.watch(seconds)
    outcomes, load.outcomes = load.outcomes, Outcomes()
    outcomes.busy = (_cpu() - used) / seconds
    load.close()
    await asyncio.sleep(0)
    return outcomes


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _number(head: bytes, name: bytes, default: int) -> int:
    """Returns the value of the field *name*, which ends with a space and is in lower case."""
    _, found, rest = head.partition(name)
    return int(rest.partition(b"\r\n")[0]) if found else default

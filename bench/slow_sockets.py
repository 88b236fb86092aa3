"""Clients that are slow on purpose, in a process of their own: heads, bodies and readers.

Each has an address of its own among 250, so that no limit per address applies. One that the server closes is replaced
at once. A reader never reads, or reads 100 bytes a second, through the smallest receive buffer that the kernel gives.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, cycle
from multiprocessing import get_context
from multiprocessing.connection import Connection

_TURN = 0.05  # seconds; a client acts once in _TURNS of them
_TURNS = 20
_ADDRESSES = 250
_CONNECTS = 10  # a turn; faster ones would measure the burst of large answers
_GONE = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_NICE = 5  # the good clients' process must not wait for this one


@dataclass(frozen=True, slots=True)
class Kind:
    """Kind of slow client: *first* is sent at once, *each* every second.

    *reads*: bytes a second that a reader reads, None for the other kinds.
    """

    first: Sequence[bytes]
    each: bytes = b""
    reads: int | None = None


@dataclass
class Lifetimes:
    """Seconds from the connect to the close by the server, by kind.

    *open* has the ages of those not closed.
    """

    closed: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    open: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failed: int = 0  # connects


@dataclass(slots=True)
class _Client:
    kind: str
    connection: socket.socket
    since: float
    turn: int


@contextmanager
def siege(port: int, kinds: Mapping[str, tuple[Kind, int]]) -> Iterator[Callable[[], Lifetimes]]:
    """Runs as many clients of each kind as given; the call ends them and returns their lifetimes."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_play, args=(theirs, port, dict(kinds)), daemon=True)
    process.start()
    theirs.close()  # so that its death is seen
    ours.recv()  # it has started

    def end() -> Lifetimes:
        ours.send(None)
        lifetimes: Lifetimes = ours.recv()
        return lifetimes

    try:
        yield end
    finally:
        process.terminate()
        process.join()


def _play(control: Connection, port: int, kinds: Mapping[str, tuple[Kind, int]]) -> None:
    os.nice(_NICE)
    clients = _Clients(port, {name: kind for name, (kind, _) in kinds.items()})
    # The kinds alternate, so that a turn has some of each.
    order = sorted((number / most, name) for name, (_, most) in kinds.items() for number in range(most))
    missing = [name for _, name in reversed(order)]
    control.send(None)
    for turn in count():
        began = time.monotonic()
        for _ in range(min(_CONNECTS, len(missing))):
            clients.connect(missing.pop(), turn % _TURNS)
        clients.act(turn % _TURNS)
        while (left := began + _TURN - time.monotonic()) > 0:
            missing += clients.reap(left)
        if control.poll():
            break
    control.send(clients.end())


class _Clients:
    """All clients and what has become of them."""

    def __init__(self, port: int, kinds: Mapping[str, Kind]) -> None:
        self._port = port
        self._kinds = kinds
        self._first = {name: cycle(kind.first) for name, kind in kinds.items()}
        self._addresses = cycle(f"127.1.0.{number + 1}" for number in range(_ADDRESSES))
        self._by_descriptor: dict[int, _Client] = {}
        self._by_turn: list[dict[int, _Client]] = [{} for _ in range(_TURNS)]
        self._epoll = select.epoll()
        self._lifetimes = Lifetimes()

    def connect(self, name: str, turn: int) -> None:
        connection = socket.socket()
        if self._kinds[name].reads is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        try:
            connection.bind((next(self._addresses), 0))
            connection.connect(("127.0.0.1", self._port))
        except OSError:
            connection.close()
            self._lifetimes.failed += 1
            return
        connection.setblocking(False)
        connection.send(next(self._first[name]))
        client = _Client(name, connection, time.monotonic(), turn)
        self._by_descriptor[connection.fileno()] = self._by_turn[turn][connection.fileno()] = client
        self._epoll.register(connection, _GONE)

    def act(self, turn: int) -> None:
        """Sends and reads what the clients of this turn do each second."""
        for client in tuple(self._by_turn[turn].values()):
            kind = self._kinds[client.kind]
            try:
                if kind.each:
                    client.connection.send(kind.each)
                if kind.reads:
                    client.connection.recv(kind.reads)
            except OSError:
                pass  # its end is seen by epoll, its emptiness is none

    def reap(self, seconds: float) -> list[str]:
        """Waits up to *seconds*, and returns the kinds of the clients that the server has closed."""
        gone = []
        for descriptor, _ in self._epoll.poll(seconds):
            client = self._by_descriptor.pop(descriptor)
            del self._by_turn[client.turn][descriptor]
            self._lifetimes.closed[client.kind].append(time.monotonic() - client.since)
            self._epoll.unregister(client.connection)
            client.connection.close()
            gone.append(client.kind)
        return gone

    def end(self) -> Lifetimes:
        for client in self._by_descriptor.values():
            self._lifetimes.open[client.kind].append(time.monotonic() - client.since)
            client.connection.close()
        return Lifetimes(dict(self._lifetimes.closed), dict(self._lifetimes.open), self._lifetimes.failed)

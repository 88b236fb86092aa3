"""Open-loop load: requests at random moments of a fixed rate, independent of earlier answers.

wrk sends the next request when the last one is answered, so a stall hides the requests that it delays. Here
the clock of each request starts when it is due (Gil Tene's "coordinated omission"). One plain thread with `select`,
whose time-outs are microseconds; those of epoll and of event loops are milliseconds, as much as what is measured.
"""

from __future__ import annotations

import gc
import select
import socket
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random
from time import perf_counter

from bench.http1 import connect, parse

CONNECTIONS = 64
_GIVE_UP = 10.0  # seconds without any answer


@dataclass(frozen=True, slots=True)
class Latencies:
    """ms from the moment a request was due to the end of its answer. *achieved* is answers a second."""

    requests: int
    achieved: float
    p50: float
    p99: float
    highest: float


def arrive(port: int, requests: Sequence[bytes], *, rate: float, random: Random) -> Latencies:
    """Sends all of *requests*, at exponential distances that average 1 / *rate* seconds.

    Raises RuntimeError on any answer that is not 2xx.
    """
    due: deque[float] = deque()
    moment = 0.0
    for _ in requests:
        moment += random.expovariate(rate)
        due.append(moment)
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(port)) for _ in range(CONNECTIONS)]
        gc.disable()
        stack.callback(gc.enable)
        started = perf_counter()
        latencies = sorted(_Crowd(connections, requests, [started + moment for moment in due]).run())
        seconds = perf_counter() - started
    return Latencies(
        requests=len(latencies),
        achieved=len(latencies) / seconds,
        p50=_quantile(latencies, 0.5),
        p99=_quantile(latencies, 0.99),
        highest=latencies[-1] * 1000,
    )


class _Crowd:
    def __init__(self, connections: Sequence[socket.socket], requests: Sequence[bytes], due: Sequence[float]) -> None:
        self._idle = list(connections)
        self._waiting = deque(zip(requests, due, strict=True))
        self._busy: dict[socket.socket, tuple[float, bytes]] = {}

    def run(self) -> list[float]:
        latencies: list[float] = []
        while self._waiting or self._busy:
            ready, _, _ = select.select(self._busy, (), (), self._send_due())
            if not ready and self._busy and perf_counter() - min(due for due, _ in self._busy.values()) > _GIVE_UP:
                raise RuntimeError(f"no answer for {_GIVE_UP:g} s")
            for connection in ready:
                latency = self._receive(connection)
                if latency is not None:
                    latencies.append(latency)
        return latencies

    def _send_due(self) -> float:
        """Seconds until there is more to send, as far as the present answers do not change it."""
        while self._waiting and self._idle:
            request, due = self._waiting[0]
            if (wait := due - perf_counter()) > 0:
                return wait
            self._waiting.popleft()
            connection = self._idle.pop()
            connection.sendall(request)
            self._busy[connection] = (due, b"")
        return _GIVE_UP

    def _receive(self, connection: socket.socket) -> float | None:
        due, received = self._busy[connection]
        data = connection.recv(65536)
        received += data
        reply = parse(received)
        if reply is None and data:
            self._busy[connection] = (due, received)
            return None
        if reply is None or not 200 <= reply.status < 300:
            raise RuntimeError(f"an answer failed under load: {received[:200]!r}")
        del self._busy[connection]
        self._idle.append(connection)
        return perf_counter() - due


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000

"""Slow heads, bodies and readers on real sockets: all are closed in time, and good clients served.

`python -m bench slow` does it with a thousand of them, and measures what a good client notices.
"""

from __future__ import annotations

import select
import socket
import time
from collections import Counter
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from support.gateway_process import JSON, Gateway, Rig, ask, bearer, message, until
from support.in_process_gateway import APP, ENDPOINT
from support.raw_http import replies
from support.scripted_upstream import Recording

from proxy.app.runtime import process_state
from proxy.http.server.limits import ConnectionLimits

LIMITS: dict[str, Any] = {"head_time": 1.0, "rate_grace": 0.5, "stall_time": 1.5, "sweep": 0.1}
LONGEST = 10.0  # seconds; a loaded machine is late, and an idle connection would be closed after 75
HEADS, BODIES, READERS = 50, 30, 20
GONE = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
ADDRESSES = cycle(f"127.1.4.{number + 1}" for number in range(100))


def slow(gateway: Gateway, sent: bytes) -> socket.socket:
    """Opens a client that has sent *sent*, and does nothing more."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the least that the system gives
    client.bind((next(ADDRESSES), 0))
    client.connect(gateway.address)
    client.sendall(sent)
    return client


def test_slow_clients_are_closed_and_good_ones_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred slow clients are gone in seconds, also readers of a small answer; each poll is answered."""
    monkeypatch.setattr(process_state, "ConnectionLimits", partial(ConnectionLimits, **LIMITS))
    with Rig(tmp_path) as rig:
        upstream = rig.upstream(Recording(b'{"text": "%b"}' % (b"a" * 24_000)))
        gateway = rig.gateway(upstream.url)
        read = f"/api/fal/queue/{APP}/requests/{gateway.job()}".encode()
        submit = message("POST", f"/api/fal/queue/{ENDPOINT}".encode(), bearer(), JSON, body=b"a" * 5000)
        started = time.monotonic()
        clients = [slow(gateway, b"GET /api/fal HTTP/1.1\r\nHost: ") for _ in range(HEADS)]
        clients += [slow(gateway, submit[:-1000]) for _ in range(BODIES)]
        staying = message("GET", read, bearer()).replace(b"Connection: close\r\n", b"")
        clients += [slow(gateway, staying) for _ in range(READERS)]
        gone = select.epoll()
        for client in clients:
            gone.register(client, GONE)
        statuses: Counter[int] = Counter()

        def all_gone() -> bool:
            (reply,) = replies(ask(gateway.address, message("GET", read, bearer())))
            statuses[reply.status] += 1
            return len(gone.poll(0)) == len(clients)

        until(all_gone)
        seconds = time.monotonic() - started
        for client in clients:
            client.close()

    assert seconds < LONGEST
    assert set(statuses) == {200}

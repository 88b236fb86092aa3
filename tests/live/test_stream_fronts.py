"""Status streams through front proxies that compress: every event arrives by itself, when it is sent.

The seconds are in artifacts/stream-fronts.txt. Next.js is in tests/examples/test_nextjs.py, with the example's build.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from support.front_proxies import Address, free_port
from support.gateway_process import Rig
from support.stream_fronts import caddy, compresses, express, haproxy, nginx, vite, watch_through
from support.streams import Feed

Start = Callable[[Path, Address, int], AbstractContextManager[None]]
FRONTS: dict[str, tuple[Start, bool]] = {
    "vite": (vite, False),  # its dev server compresses nothing
    "express": (express, True),
    "nginx": (nginx, True),
    "caddy": (caddy, True),
    "haproxy": (haproxy, True),
}


@pytest.mark.parametrize("name", FRONTS)
def test_events_arrive_one_by_one(rig: Rig, tmp_path: Path, name: str) -> None:
    """Each event arrives before the next one is sent, though the front compresses other answers."""
    front, compressing = FRONTS[name]
    feed, port = Feed(), free_port()
    gateway = rig.gateway(rig.upstream(feed).url)
    origin = f"http://127.0.0.1:{port}"
    with front(tmp_path, gateway.address, port):
        assert compresses(gateway, feed, origin) == compressing
        watch_through(name, rig, gateway, feed, origin)

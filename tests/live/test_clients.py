"""The stock clients, unmodified, through a running gateway to the sandbox."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from support.gateway_process import CLIENTS, QUICK, Gateway, Rig, client_environ, javascript, tls_front
from support.in_process_gateway import ENVIRON, FAL_KEY
from support.scripted_upstream import certificates
from support.servers import UPLOADS
from support.streams import ALL_ACTIONS

from proxy.demo.demo import SandboxAddresses

# Job ids of the second key have an alias. Each account has jobs of its own, so a read with the wrong key finds none.
SPARE = "spare-account:canary-51d0aa"
TWO_KEYS = {**ENVIRON, "FAL_KEYS": f"eu-1={SPARE}"}
TWO_ACCOUNTS = replace(QUICK, keys=frozenset({FAL_KEY, SPARE}))


def two_key_gateway(rig: Rig, sandbox: SandboxAddresses, *, origin: str | None = None) -> Gateway:
    """Starts a gateway with two fal keys, all actions and uploads."""
    return rig.gateway(
        sandbox.queue,
        origin=origin,
        environ=TWO_KEYS,
        fal={"queue_origin": sandbox.queue, "run_origin": sandbox.run, "rest_origin": sandbox.rest},
        endpoints=[{**ALL_ACTIONS, "files": {"hosts": ["*", "uploads"]}}],
        uploads=UPLOADS,
    )


def keys_used(sandbox: SandboxAddresses) -> set[str]:
    """Returns the ids of the keys of all requests that the sandbox has received with one."""
    journal = httpx2.get(f"{sandbox.control}/journal", trust_env=False).json()
    return {str(entry["key_id"]) for entry in journal if entry["key_id"]}


@pytest.mark.parametrize("script", ["queue.test.mjs", "streams.test.mjs", "uploads.test.mjs"])
def test_javascript(rig: Rig, script: str) -> None:
    """The client `@fal-ai/client` in header mode passes every test, over two fal keys in turn."""
    sandbox = rig.sandbox(TWO_ACCOUNTS)
    gateway = two_key_gateway(rig, sandbox)
    javascript(script, GATEWAY=gateway.url, CONTROL=sandbox.control, REST=sandbox.rest, LARGE="1")

    assert keys_used(sandbox) == {FAL_KEY.partition(":")[0], SPARE.partition(":")[0]}


def test_python(rig: Rig, tmp_path: Path) -> None:
    """The client `fal_client` in path mode, over https and two fal keys, passes every test."""
    listening = socket.create_server(("127.0.0.1", 0))
    host = f"localhost:{listening.getsockname()[1]}"
    sandbox = rig.sandbox(TWO_ACCOUNTS)
    gateway = two_key_gateway(rig, sandbox, origin=f"https://{host}")
    certified = certificates(tmp_path / "tls")
    rig.enter(tls_front(listening, certified.server, gateway.address))
    environ = client_environ(
        GATEWAY=gateway.url,
        FAL_QUEUE_RUN_HOST=f"{host}/api/fal/queue",
        FAL_RUN_HOST=f"{host}/api/fal/run",
        SSL_CERT_FILE=certified.ca_file,
    )
    # The client has no close, so its sockets end with the garbage.
    options = ["--noconftest", "-q", "-p", "no:cacheprovider", "-W", "ignore::ResourceWarning"]
    command = [sys.executable, "-m", "pytest", *options, "fal_client_checks.py"]
    done = subprocess.run(command, cwd=CLIENTS, env=environ, capture_output=True, text=True, timeout=90, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\d+ passed in", done.stdout, re.MULTILINE), done.stdout
    assert keys_used(sandbox) == {FAL_KEY.partition(":")[0], SPARE.partition(":")[0]}

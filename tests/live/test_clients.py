"""The stock clients, unmodified, through a running gateway to the sandbox."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

from support.gateway_process import CLIENTS, Rig, client_environ, javascript, tls_front
from support.in_process_gateway import ENVIRON, FAL_KEY
from support.scripted_upstream import certificates
from support.streams import ALL_ACTIONS

from proxy.demo.demo import SandboxAddresses

KEY_WITH_ALIAS = {**{name: text for name, text in ENVIRON.items() if name != "FAL_KEY"}, "FAL_KEYS": f"eu-1={FAL_KEY}"}


def origins(sandbox: SandboxAddresses) -> dict[str, str]:
    return {"queue_origin": sandbox.queue, "run_origin": sandbox.run, "rest_origin": sandbox.rest}


def test_javascript(rig: Rig) -> None:
    """The client `@fal-ai/client` in header mode passes every test of `queue.test.mjs`."""
    sandbox = rig.sandbox()
    gateway = rig.gateway(sandbox.queue)

    javascript("queue.test.mjs", GATEWAY=gateway.url, CONTROL=sandbox.control)


def test_javascript_streams(rig: Rig) -> None:
    """The client's streams and runs pass every test of `streams.test.mjs`."""
    sandbox = rig.sandbox()
    gateway = rig.gateway(sandbox.queue, fal=origins(sandbox), endpoints=[ALL_ACTIONS])

    javascript("streams.test.mjs", GATEWAY=gateway.url, CONTROL=sandbox.control)


def test_python(rig: Rig, tmp_path: Path) -> None:
    """The client `fal_client` in path mode, over https, passes every test of `fal_client_checks.py`.

    Job ids have the alias of a fal key.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    host = f"localhost:{listening.getsockname()[1]}"
    sandbox = rig.sandbox()
    gateway = rig.gateway(
        sandbox.queue,
        origin=f"https://{host}",
        environ=KEY_WITH_ALIAS,
        fal=origins(sandbox),
        endpoints=[ALL_ACTIONS],
    )
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

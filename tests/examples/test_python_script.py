from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from support.gateway_process import PATIENCE, tls_front
from support.node_programs import EXAMPLES
from support.sandbox import png
from support.scripted_upstream import certificates

from proxy.testing import FalGateway

SCRIPT = EXAMPLES / "python-script" / "paint.py"


def test_the_script_paints_over_tls(fal_gateway: FalGateway, tmp_path: Path) -> None:
    """The script prints the picture's address, or the status and the type of a refusal."""
    (tmp_path / "cat.png").write_bytes(png())
    certified = certificates(tmp_path / "tls")
    gateway = urlsplit(fal_gateway.origin)
    behind = (gateway.hostname or "", gateway.port or 0)
    listening = socket.create_server(("127.0.0.1", 0))
    host = f"localhost:{listening.getsockname()[1]}"

    def paint(token: str) -> subprocess.CompletedProcess[str]:
        environ = {
            "PATH": os.environ["PATH"],
            "FAL_QUEUE_RUN_HOST": f"{host}/api/fal/queue",
            "FAL_RUN_HOST": f"{host}/api/fal/run",
            "FAL_KEY": token,
            "SSL_CERT_FILE": certified.ca_file,
        }
        command = [sys.executable, str(SCRIPT), "cat.png", "a boat"]
        return subprocess.run(
            command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=2 * PATIENCE, check=False
        )

    with fal_gateway.sandbox.loop.entered(tls_front(listening, certified.server, behind)):
        painted, refused = paint(fal_gateway.token()), paint("no-token")

    assert painted.stdout.startswith(fal_gateway.sandbox.addresses.rest), painted.stderr
    assert (refused.returncode, refused.stderr.split()[0]) == (1, "401")
    assert fal_gateway.sandbox.counts.submits == 1

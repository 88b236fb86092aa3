"""Tests of the command `health` against real sockets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.cli.main import main


class Gateway(BaseHTTPRequestHandler):
    """A gateway that is alive and not ready."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 503)
        self.end_headers()
        self.wfile.write(b'{"status":"starting"}')

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the name is the standard library's
        """Logs nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a gateway that is alive and not ready."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_health_is_the_status_of_the_command(port: int, tmp_path: Path) -> None:
    """A gateway that is alive gives status 0; one that is not ready gives 1 with its answer."""
    file = tmp_path / "fal-proxy.toml"
    file.write_text(f'[server]\npublic_origin = "http://127.0.0.1"\nhost = "0.0.0.0"\nport = {port}\n')
    alive = CliRunner().invoke(main, ["health", str(file)])
    ready = CliRunner().invoke(main, ["health", "--ready", "--host", "127.0.0.1", "--port", str(port)])

    assert (alive.exit_code, alive.stdout) == (0, f"0.0.0.0:{port}/healthz: good\n")
    assert ready.exit_code == 1
    assert '503 {"status":"starting"}' in ready.stderr


def test_a_gateway_that_does_not_answer_is_unhealthy() -> None:
    """A refused connection gives status 1 and a line."""
    result = CliRunner().invoke(main, ["health", "--host", "127.0.0.1", "--port", "1"])

    assert result.exit_code == 1
    assert "127.0.0.1:1/healthz" in result.stderr

"""The gateway under each ASGI server that it supports, in a process of its own, in front of a sandbox."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from support.gateway_process import PATIENCE, until
from support.in_process_gateway import ENDPOINT, ENVIRON, document, token
from support.streams import ALL_ACTIONS

from proxy.demo.demo import SandboxAddresses

HOST = "127.0.0.1"
FACTORY = "proxy.app:create_app"
UPLOADS = {"content_types": ["image/png", "application/zip"], "lifetime_seconds": 3600}
UVICORN = ("uvicorn", "--no-proxy-headers", "--no-access-log", "--host", HOST, "--port", "{port}")
# The arguments after `python -m`.
SERVERS: Mapping[str, tuple[str, ...]] = {
    "serve": ("proxy", "serve"),
    "uvicorn-httptools": (*UVICORN, "--http", "httptools", "--factory", FACTORY),
    "uvicorn-h11": (*UVICORN, "--http", "h11", "--factory", FACTORY),
    "uvicorn-own": (*UVICORN, "--http", "proxy.http.server.connection:HttpConnection", "--factory", FACTORY),
    "granian": ("granian", "--interface", "asgi", "--no-ws", "--host", HOST, "--port", "{port}", "--factory", FACTORY),
    "hypercorn": ("hypercorn", "--bind", f"{HOST}:{{port}}", f"{FACTORY}()"),
    "fastapi-mount": (*UVICORN, "support.fastapi_host:app"),
}


@dataclass(frozen=True)
class Served:
    """One running server. *url* is the gateway's prefix, *health* the address of its health page."""

    name: str
    port: int
    sandbox: SandboxAddresses
    log: Path

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/api/fal"

    @property
    def health(self) -> str:
        base = self.url if self.name == "fastapi-mount" else f"http://{HOST}:{self.port}"
        return f"{base}/healthz"

    def client(self, subject: str = "alice") -> httpx2.Client:
        headers = {"authorization": f"Bearer {token(subject)}"}
        return httpx2.Client(base_url=f"{self.url}/", headers=headers, timeout=PATIENCE, trust_env=False)

    def requests(self) -> list[dict[str, object]]:
        """Returns the records of requests in the journal."""
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("{")]
        events = [json.loads(line) for line in lines]
        return [event for event in events if event["event"] == "request"]

    def fault(self, **fault: object) -> None:
        """Makes the sandbox fail; without arguments, no more."""
        faults = [fault] if fault else []
        httpx2.put(f"{self.sandbox.control}/faults", json=faults, trust_env=False).raise_for_status()

    def submits(self) -> int:
        counts = httpx2.get(f"{self.sandbox.control}/counts", trust_env=False).json()
        return int(counts["submits"]["total"])


@contextmanager
def served(name: str, home: Path, sandbox: SandboxAddresses, *, port: int) -> Iterator[Served]:
    """Starts the server *name*, and stops it at the end."""
    config = home / "fal-proxy.toml"
    config.write_text(toml_text(_document(sandbox, port)))
    log = home / "log"
    tests = Path(__file__).parents[1]
    environ = {
        **{key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ},
        **ENVIRON,
        "FAL_PROXY_CONFIG": str(config),
        "PYTHONPATH": str(tests),
    }
    command = [sys.executable, "-m", *(part.format(port=port) for part in SERVERS[name])]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=home, env=environ, stdout=output, stderr=output)
    server = Served(name, port, sandbox, log)
    try:
        until(lambda: process.poll() is not None or _answers(server.health))
        assert process.poll() is None, log.read_text()
        yield server
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=PATIENCE, trust_env=False).status_code == 200
    except httpx2.TransportError:
        return False


def _document(sandbox: SandboxAddresses, port: int) -> Mapping[str, object]:
    return document(
        server={"public_origin": f"http://{HOST}:{port}", "port": port, "max_body_bytes": 100_000},
        admin={"port": 0},
        fal={"queue_origin": sandbox.queue, "run_origin": sandbox.run, "rest_origin": sandbox.rest},
        ledger={"path": ":memory:"},
        endpoints=[{**ALL_ACTIONS, "id": ENDPOINT, "files": {"hosts": ["*", "uploads"]}}],
        limits=[],
        uploads=UPLOADS,
    )


def toml_text(document: Mapping[str, object]) -> str:
    """Returns a configuration file with *document*."""
    return "\n".join(f"{key} = {_value(value)}" for key, value in document.items())


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value)

"""A gateway on a loopback port in front of a sandbox, as a test sees it."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from proxy.app.process.gateway_server import GatewayServer
from proxy.app.setup.components import build_components
from proxy.config.loader import Config
from proxy.strict_json import Json
from proxy.testing.sandbox import TOKEN_SECONDS, FalSandbox

_HOST = "127.0.0.1"
_GRACE = 1.0  # seconds for requests that a fault holds at the end of a test
_CALL_SECONDS = 30.0
_NO_CLAIMS: Mapping[str, Json] = {}


@dataclass(frozen=True)
class FalGateway:
    """A running gateway. *sandbox* is its fal, *config* what it runs by, *log* the file of its journal."""

    sandbox: FalSandbox
    config: Config
    log: Path

    @property
    def origin(self) -> str:
        """Origin of the gateway, as in `http://127.0.0.1:40123`."""
        return self.config.server.public_origin

    @property
    def url(self) -> str:
        """Address of its routes: the origin and the prefix. Path mode calls `<url>/queue/<endpoint>`."""
        return f"{self.origin}{self.config.server.prefix}"

    @property
    def proxy_url(self) -> str:
        """Address for the `proxyUrl` of fal's clients."""
        return f"{self.url}/proxy"

    def token(
        self,
        subject: str = "alice",
        *,
        scopes: Collection[str] = (),
        lifetime: float = TOKEN_SECONDS,
        claims: Mapping[str, Json] = _NO_CLAIMS,
    ) -> str:
        """Returns a session token of *subject*, which holds for *lifetime* seconds."""
        return self.sandbox.token(subject, scopes=scopes, lifetime=lifetime, claims=claims)

    def client(self, subject: str | None = "alice") -> httpx2.Client:
        """Returns an HTTP client with a session of *subject*, or with none. Its paths are relative to `url`."""
        headers = {} if subject is None else {"authorization": f"Bearer {self.token(subject)}"}
        return httpx2.Client(base_url=f"{self.url}/", headers=headers, timeout=_CALL_SECONDS, trust_env=False)

    @property
    def records(self) -> list[dict[str, Json]]:
        """The journal so far. The records of the last 50 ms may be missing."""
        lines = self.log.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]


@contextmanager
def running_gateway(sandbox: FalSandbox, source: Path | Mapping[str, object] | None = None) -> Iterator[FalGateway]:
    """Runs a gateway on a free loopback port.

    *source* is a configuration file, its sections, or None for all endpoints of the sandbox. Raises ConfigError.
    """
    with socket.create_server((_HOST, 0)) as listening, tempfile.TemporaryDirectory() as folder:
        origin = f"http://{_HOST}:{listening.getsockname()[1]}"
        gateway = FalGateway(sandbox, sandbox.configure(source, public_origin=origin), Path(folder) / "journal")
        with sandbox.loop.entered(_serving(gateway, listening)):
            yield gateway


@asynccontextmanager
async def _serving(gateway: FalGateway, listening: socket.socket) -> AsyncIterator[None]:
    descriptor = os.open(gateway.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        service = GatewayServer(build_components(gateway.config), log=descriptor)
        await service.start(sock=listening)
        yield
        await service.stop(_GRACE)
    finally:
        os.close(descriptor)

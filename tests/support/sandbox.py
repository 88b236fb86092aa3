"""Support for tests of the sandbox: a clock, a client in process, the sandbox on loopback ports."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import io
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Literal

import httpx2
import uvicorn
from PIL import Image
from starlette.types import ASGIApp

from proxy.http.server.server import HttpServer
from proxy.sandbox.app import Sandbox, create_control, create_sandbox
from proxy.sandbox.settings import SandboxSettings

KEY = {"authorization": "Key alice:secret"}
MODEL = "fal-ai/hyper-sdxl/image-to-image"
Server = Literal["httptools", "h11", "listener"]
QUICK = SandboxSettings(queue_seconds=0, run_seconds=0)


class Clock:
    """Unix seconds that the test moves."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += seconds


class QuietServer(uvicorn.Server):
    """Server that leaves the signals of the process alone."""

    capture_signals = contextlib.nullcontext  # type: ignore[assignment]


@dataclasses.dataclass(frozen=True)
class Rig:
    """Sandbox on real ports. *queue*, *run*, *rest* and *control* are origins."""

    sandbox: Sandbox
    queue: str
    run: str
    rest: str
    control: str


def png(size: tuple[int, int] = (64, 48)) -> bytes:
    """Returns an image with content in every corner."""
    buffer = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").resize(size).save(buffer, "PNG")
    return buffer.getvalue()


def data_uri(raw: bytes, media: str = "image/png") -> str:
    return f"data:{media};base64,{base64.b64encode(raw).decode('ascii')}"


def picture_input(**fields: object) -> dict[str, object]:
    return {"image_url": data_uri(png()), "prompt": "an island", "image_size": {"width": 32, "height": 24}, **fields}


def client(app: ASGIApp, headers: dict[str, str] | None = None) -> httpx2.AsyncClient:
    """Returns a client that calls *app* in process, under the address of the default origins."""
    transport = httpx2.ASGITransport(app=app)
    return httpx2.AsyncClient(
        transport=transport, base_url="http://127.0.0.1", headers=KEY if headers is None else headers
    )


async def until(done: Callable[[], object], *, seconds: float = 5.0) -> None:
    """Waits for a condition, at most *seconds*."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "the condition did not come true in time"
        await asyncio.sleep(0.005)


async def completed(http: httpx2.AsyncClient, accepted: httpx2.Response) -> httpx2.Response:
    """Polls a submitted job until it is COMPLETED and returns the last status."""
    for _ in range(1000):
        status = await http.get(accepted.json()["status_url"], params={"logs": "1"})
        if status.status_code != 202:
            return status
        await asyncio.sleep(0.005)
    raise AssertionError("the job did not end in time")


@contextlib.asynccontextmanager
async def served(apps: Mapping[socket.socket, ASGIApp], *, server: Server = "httptools") -> AsyncIterator[None]:
    """Serves each app on a bound socket: by uvicorn with one of its parsers, or by the gateway's server."""
    if server == "listener":
        listeners = [(HttpServer(app), sock) for sock, app in apps.items()]
        for listener, sock in listeners:
            await listener.start(sock=sock)
        yield
        for listener, _ in listeners:
            await listener.stop(1.0)
        return
    servers = {}
    for sock, app in apps.items():
        config = uvicorn.Config(
            app, http=server, ws="none", loop="none", log_level="error", timeout_graceful_shutdown=1
        )
        servers[sock] = QuietServer(config)
    tasks = [asyncio.ensure_future(one.serve(sockets=[sock])) for sock, one in servers.items()]
    await until(lambda: all(one.started for one in servers.values()))
    try:
        yield
    finally:
        for one in servers.values():
            one.should_exit = True
        await asyncio.gather(*tasks)


def bound(count: int = 1) -> list[socket.socket]:
    """Returns sockets on free loopback ports."""
    return [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]


def origin(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.asynccontextmanager
async def running(settings: SandboxSettings = QUICK, *, server: Server = "httptools") -> AsyncIterator[Rig]:
    """Runs the whole sandbox on four free ports."""
    listeners = bound(4)
    queue, run, rest, control = map(origin, listeners)
    sandbox = create_sandbox(dataclasses.replace(settings, queue_origin=queue, run_origin=run, rest_origin=rest))
    apps: list[ASGIApp] = [sandbox.queue, sandbox.run, sandbox.rest, create_control(sandbox)]
    async with served(dict(zip(listeners, apps, strict=True)), server=server):
        yield Rig(sandbox, queue, run, rest, control)
        await sandbox.close()

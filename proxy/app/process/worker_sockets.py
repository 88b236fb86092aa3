"""Unix sockets of all workers: by its own each worker answers the others, and by theirs it asks them."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

import httpx2
from starlette.types import ASGIApp

from proxy.http.server.server import HttpServer

TIMEOUT = 2.0  # seconds for the answer of one other worker
_SOCKET = ".sock"


class WorkerSockets:
    """Sockets in *folder*, one a worker. Without a folder this process is alone.

    Files of workers that have ended stay in the folder, one for each suffix.
    """

    def __init__(self, folder: str | None) -> None:
        self._folder = None if folder is None else Path(folder)

    async def start(self, app: ASGIApp) -> None:
        """Serves *app* to the other workers."""
        self._server = HttpServer(app)
        if self._folder is not None:
            listening = socket.socket(socket.AF_UNIX)
            listening.bind(str(self._folder / f"{os.getpid()}{_SOCKET}"))
            listening.listen()
            await self._server.start(sock=listening)

    async def stop(self, last: Mapping[str, bytes]) -> None:
        """Leaves the values *last* by suffix, in one step each, and stops answering."""
        if self._folder is None:
            return
        name = self._folder / str(os.getpid())
        for suffix, value in last.items():
            name.with_suffix(".tmp").write_bytes(value)
            name.with_suffix(".tmp").rename(name.with_suffix(suffix))
        name.with_suffix(_SOCKET).unlink(missing_ok=True)
        await self._server.stop(TIMEOUT)

    async def fetch(self, path: str) -> list[bytes]:
        """Returns the answers of the other workers, without those that have ended or do not answer."""
        paths = [] if self._folder is None else self._folder.glob(f"*{_SOCKET}")
        others = [one for one in paths if one.stem != str(os.getpid())]
        answers = await asyncio.gather(*(_fetch(one, path) for one in others))
        return [answer for answer in answers if answer is not None]

    def ended(self, suffix: str, *, max_age: float | None = None) -> list[bytes]:
        """Returns what ended workers left under *suffix*. Removes what is older than *max_age* seconds."""
        values: list[bytes] = []
        for path in [] if self._folder is None else self._folder.glob(f"*{suffix}"):
            if max_age is not None and path.stat().st_mtime < time.time() - max_age:
                path.unlink(missing_ok=True)
            else:
                values.append(path.read_bytes())
        return values


async def _fetch(socket_path: Path, path: str) -> bytes | None:
    # `verify` would load the certificates of all authorities, 20 ms and more for nothing.
    transport = httpx2.AsyncHTTPTransport(uds=str(socket_path), verify=False)
    try:
        async with httpx2.AsyncClient(transport=transport, timeout=TIMEOUT, trust_env=False) as client:
            return (await client.get(f"http://worker{path}")).content
    except httpx2.TransportError:
        return None

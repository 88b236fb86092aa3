"""Metrics of all workers on one port: each gives its own on a Unix socket, and any of them merges all.

No counter runs backwards: what an ended worker had counted stays in the folder. Of a killed one, that is what the last
scrape had read.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import orjson

from proxy.storage.file_lock import FileLock
from proxy.telemetry.families import Family, dump, exposition, load, merged, without_gauges

_TIMEOUT = 2.0  # seconds for the answer of one other worker, and for a scrape before this one
_LOCK_INTERVAL = 0.01  # seconds
_SOCKET, _LAST, _FINAL = ".metrics", ".last", ".final"  # of one worker: where it answers, and what it has counted
_ENDED = "ended.json"  # sums of workers that have ended
_LOCK = "scrape.lock"
SUPERVISOR = "supervisor.json"  # counters of the supervisor, which is no worker


class WorkerMetrics:
    """Exposes what *own* returns, with that of all other workers in *folder*.

    Without a folder there are none.
    """

    def __init__(self, own: Callable[[], list[Family]], folder: str | None) -> None:
        self._own = own
        self._folder = None if folder is None else Path(folder)
        self._name = f"{os.getpid()}-{time.time_ns():x}"  # a process id may come again
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        if self._folder is not None:
            self._server = await asyncio.start_unix_server(self._answer, self._path(_SOCKET))

    async def stop(self) -> None:
        """Leaves the last values, then answers no more."""
        if self._server is not None:
            _write(self._path(_FINAL), dump(self._own()))
            self._server.close()

    async def scrape(self) -> bytes:
        """Returns the metrics of all workers in the Prometheus text format."""
        return await asyncio.to_thread(exposition, await self.families())

    async def families(self) -> list[Family]:
        """Returns the metrics of all workers, merged."""
        if self._folder is None:
            return self._own()
        async with _exclusive(self._folder / _LOCK):
            names = {path.stem for path in self._folder.glob("[0-9]*-*.*")} - {self._name}
            answers = await asyncio.gather(*(_fetch(self._folder / f"{name}{_SOCKET}") for name in names))
            found = {self._name: dump(self._own()), **dict(zip(names, answers, strict=True))}
            return await asyncio.to_thread(_merge, self._folder, found)

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(dump(self._own()))
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()

    def _path(self, suffix: str) -> Path:
        return (self._folder or Path()) / f"{self._name}{suffix}"


async def _fetch(path: Path) -> bytes | None:
    """Returns the metrics of another worker: b"" where it does not answer, None where it has ended."""
    try:
        async with asyncio.timeout(_TIMEOUT):
            reader, writer = await asyncio.open_unix_connection(path)
            with contextlib.closing(writer):
                return await reader.read()
    except TimeoutError:
        return b""
    except OSError:
        return None


@asynccontextmanager
async def _exclusive(path: Path) -> AsyncIterator[None]:
    """Waits for a scrape that another worker answers, for at most _TIMEOUT seconds."""
    lock = FileLock(str(path))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_TIMEOUT):
            while not lock.acquire():  # noqa: ASYNC110 a lock on a file announces nothing
                await asyncio.sleep(_LOCK_INTERVAL)
    try:
        yield
    finally:
        lock.release()


def _merge(folder: Path, found: Mapping[str, bytes | None]) -> list[Family]:
    """Merges the answers by worker (see `_fetch`), and keeps what ended workers cannot give again."""
    live, ended = [], {}
    for name, answer in found.items():
        if answer is None:
            ended[name] = without_gauges(_read(folder / f"{name}{_FINAL}") or _read(folder / f"{name}{_LAST}"))
        elif answer:
            _write(folder / f"{name}{_LAST}", answer)
            live.append(load(answer))
        else:
            live.append(without_gauges(_read(folder / f"{name}{_LAST}")))
    return merged([*live, _keep(folder, ended), _read(folder / SUPERVISOR)])


def _keep(folder: Path, ended: Mapping[str, list[Family]]) -> list[Family]:
    """Adds *ended* workers to the sums of those before, and returns the sums."""
    path = folder / _ENDED
    names, sums = orjson.loads(path.read_bytes()) if path.exists() else ([], "[]")
    families = load(sums.encode())
    if ended:
        families = merged([families, *(values for name, values in ended.items() if name not in names)])
        # The names guard against an end between these two steps, which would count a worker twice.
        _write(path, orjson.dumps([list(ended), dump(families).decode()]))
        for name in ended:
            for suffix in (_SOCKET, _LAST, _FINAL):
                (folder / f"{name}{suffix}").unlink(missing_ok=True)
    return families


def _read(path: Path) -> list[Family]:
    return load(path.read_bytes()) if path.exists() else []


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.rename(path)


def write_supervisor(folder: str, families: Iterable[Family]) -> None:
    """Leaves the counters of the supervisor for the workers to merge."""
    _write(Path(folder) / SUPERVISOR, dump(families))

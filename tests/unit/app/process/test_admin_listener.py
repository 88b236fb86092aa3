from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from starlette.types import ASGIApp

from proxy.app.process.admin_listener import AdminListener

COUNTER = '# HELP a_total Help.\n# TYPE a_total counter\na_total{x="1"} %s\n'


@pytest.fixture
def folder() -> Iterator[str]:
    """A folder with a short name: the path of a Unix socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory() as name:
        yield name


async def scrape(app: ASGIApp) -> str:
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://admin") as client:
        return (await client.get("/metrics")).text


async def test_one_worker_answers_for_all(folder: str) -> None:
    """The values of a live worker are fetched, those of an ended one read; a dead socket is passed over."""
    other = AdminListener(lambda: (COUNTER % 10).encode(), folder)
    await other.start("127.0.0.1", 0)
    (socket,) = Path(folder).glob("*.sock")  # noqa: ASYNC240
    socket.rename(Path(folder) / "1.sock")
    (Path(folder) / "2.sock").touch()
    (Path(folder) / "3.ended").write_text(COUNTER % 100)
    queried = AdminListener(lambda: (COUNTER % 1).encode(), folder)

    assert 'a_total{x="1"} 111.0\n' in await scrape(queried.app)
    await other.stop(0.1)


async def test_a_single_process_has_no_folder() -> None:
    """A single process exposes its own metrics unchanged."""
    listener = AdminListener(lambda: b"own", None)
    await listener.start("127.0.0.1", 0)

    assert await scrape(listener.app) == "own"
    await listener.stop(0.1)

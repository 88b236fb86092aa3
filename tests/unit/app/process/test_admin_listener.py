from __future__ import annotations

import tempfile
from collections.abc import Iterator

import httpx2
import pytest
from starlette.types import ASGIApp

from proxy.app.process.admin_listener import AdminListener
from proxy.telemetry.families import Family


def counter(value: float) -> list[Family]:
    return [Family("a", "counter", "Help.", (("_total", {"x": "1"}, value),))]


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
    """The values of a live worker are fetched, and those of an ended one stay."""
    other, asked = AdminListener(lambda: counter(10), folder), AdminListener(lambda: counter(1), folder)
    await other.start("127.0.0.1", 0)

    assert 'a_total{x="1"} 11.0\n' in await scrape(asked.app)
    await other.stop(0.1)
    assert 'a_total{x="1"} 11.0\n' in await scrape(asked.app)


async def test_a_single_process_has_no_folder() -> None:
    """A single process exposes its own metrics."""
    listener = AdminListener(lambda: counter(3), None)
    await listener.start("127.0.0.1", 0)

    assert 'a_total{x="1"} 3.0\n' in await scrape(listener.app)
    await listener.stop(0.1)

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from starlette.types import ASGIApp

from proxy.app.process.worker_metrics import WorkerMetrics, summed

COUNTER = '# HELP a_total Help.\n# TYPE a_total counter\na_total{x="1"} %s\n'
GAUGE = "# HELP g Help.\n# TYPE g gauge\ng %s\n"


@pytest.fixture
def folder() -> Iterator[str]:
    """A folder with a short name: the path of a Unix socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory() as name:
        yield name


def test_values_are_added_by_name_and_labels() -> None:
    """Gauges are added too, but not those of workers that have ended."""
    live, ended = COUNTER % 1 + GAUGE % 2, COUNTER % 4 + GAUGE % 8
    page = summed([(live.encode(), False), (live.encode(), False), (ended.encode(), True)]).decode()

    assert 'a_total{x="1"} 6.0\n' in page
    assert "g 4.0\n" in page
    assert page.count("# TYPE a_total counter") == 1


async def scrape(app: ASGIApp) -> str:
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://admin") as client:
        return (await client.get("/metrics")).text


async def test_one_worker_answers_for_all(folder: str) -> None:
    """The values of a live worker are fetched, those of an ended one read; a dead socket is passed over."""
    other = WorkerMetrics(lambda: (COUNTER % 10).encode(), folder)
    await other.start()
    (socket,) = Path(folder).glob("*.sock")  # noqa: ASYNC240
    socket.rename(Path(folder) / "1.sock")
    (Path(folder) / "2.sock").touch()
    (Path(folder) / "3.ended").write_text(COUNTER % 100)
    asked = WorkerMetrics(lambda: (COUNTER % 1).encode(), folder)

    assert 'a_total{x="1"} 111.0\n' in await scrape(asked.app)
    await other.stop()


async def test_a_single_process_has_no_folder() -> None:
    """A single process exposes its own metrics unchanged."""
    metrics = WorkerMetrics(lambda: b"own", None)
    await metrics.start()

    assert await scrape(metrics.app) == "own"
    await metrics.stop()

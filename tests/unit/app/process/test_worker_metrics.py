from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.app.process import worker_metrics
from proxy.app.process.worker_metrics import WorkerMetrics, write_supervisor
from proxy.telemetry.families import Family, dump


@pytest.fixture
def folder() -> Iterator[str]:
    """A folder with a short name: the path of a Unix socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory() as name:
        yield name


class Worker:
    """A worker with one counter and one gauge, both of them *value*."""

    def __init__(self, folder: str | None, value: float) -> None:
        self.value = value
        self.metrics = WorkerMetrics(self.families, folder)

    def families(self) -> list[Family]:
        return [
            Family("a", "counter", "Events.", (("_total", {"x": "1"}, self.value),)),
            Family("g", "gauge", "Now.", (("", {}, self.value),)),
        ]

    async def scrape(self) -> tuple[float, float]:
        """Returns the counter and the gauge, over all workers."""
        by_name = {family.name: family for family in await self.metrics.families()}
        return by_name["a"].samples[0][2], by_name["g"].samples[0][2]


async def test_any_worker_answers_for_all(folder: str) -> None:
    """Counters and gauges of live workers are added; of one that has ended, the counters."""
    workers = [Worker(folder, value) for value in (1, 10, 100)]
    for worker in workers:
        await worker.metrics.start()
    before = [await worker.scrape() for worker in workers]
    workers[2].value = 200
    await workers[2].metrics.stop()

    assert before == [(111, 111)] * 3
    for _ in range(2):
        assert [await worker.scrape() for worker in workers[:2]] == [(211, 11)] * 2
    assert [path.suffix for path in Path(folder).glob("*.final")] == []  # noqa: ASYNC240
    for worker in workers[:2]:
        await worker.metrics.stop()


async def test_a_killed_worker_takes_nothing_back(folder: str) -> None:
    """The last scrape of a killed worker stays in the sums."""
    killed, other = Worker(folder, 10), Worker(folder, 1)
    await other.metrics.start()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/1-1.metrics")
    (Path(folder) / "1-1.last").write_bytes(dump(killed.families()))

    assert [await other.scrape(), await other.scrape()] == [(11, 1), (11, 1)]
    await other.metrics.stop()


async def test_a_worker_that_does_not_answer(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counters of a silent worker are those of the last scrape."""
    monkeypatch.setattr(worker_metrics, "_TIMEOUT", 0.05)
    asked = Worker(folder, 1)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/1-1.metrics")
        listener.listen()
        (Path(folder) / "1-1.last").write_bytes(dump(Worker(None, 10).families()))

        assert await asked.scrape() == (11, 1)
        assert await asked.scrape() == (11, 1)


async def test_scrapes_at_the_same_time(folder: str) -> None:
    """Each has all counts once."""
    workers = [Worker(folder, value) for value in (1, 10)]
    for worker in workers:
        await worker.metrics.start()
    scrapes = await asyncio.gather(*(worker.scrape() for worker in workers * 5))

    assert set(scrapes) == {(11, 11)}
    for worker in workers:
        await worker.metrics.stop()


async def test_the_counters_of_the_supervisor(folder: str) -> None:
    """Every scrape has the counters of the supervisor."""
    write_supervisor(folder, [Family("ends", "counter", "Ends.", (("_total", {"code": "-9"}, 2),))])

    assert b'ends_total{code="-9"} 2.0\n' in await Worker(folder, 1).metrics.scrape()


async def test_a_single_process_has_no_folder() -> None:
    """A single process exposes its own metrics."""
    worker = Worker(None, 3)
    await worker.metrics.start()

    assert await worker.scrape() == (3, 3)
    await worker.metrics.stop()

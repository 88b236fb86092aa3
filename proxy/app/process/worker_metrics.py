"""Metrics of all workers on one port: each has its own on a Unix socket, and any of them sums all."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import httpx2
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from proxy.app.pages import create_metrics
from proxy.http.server.server import HttpServer

_TIMEOUT = 2.0  # seconds for the answer of one other worker
_SOCKET, _ENDED = ".sock", ".ended"


class WorkerMetrics:
    """Exposes what *own* returns, with that of all other workers in *folder*.

    Without a folder there are none.

    A worker that ends leaves its last values in the folder, so that no counter runs backwards.
    """

    def __init__(self, own: Callable[[], bytes], folder: str | None) -> None:
        self._own = own
        self._folder = None if folder is None else Path(folder)
        self._private = HttpServer(create_metrics(own))
        self.app = create_metrics(own) if folder is None else Starlette(routes=[Route("/metrics", self._metrics)])

    async def start(self) -> None:
        if self._folder is not None:
            listening = socket.socket(socket.AF_UNIX)
            listening.bind(str(self._folder / f"{os.getpid()}{_SOCKET}"))
            listening.listen()
            await self._private.start(sock=listening)

    async def stop(self) -> None:
        if self._folder is not None:
            name = self._folder / str(os.getpid())
            name.with_suffix(".tmp").write_bytes(self._own())
            name.with_suffix(".tmp").rename(name.with_suffix(_ENDED))
            name.with_suffix(_SOCKET).unlink(missing_ok=True)
            await self._private.stop(_TIMEOUT)

    async def _metrics(self, _: Request) -> Response:
        folder = self._folder or Path()
        live = [path for path in folder.glob(f"*{_SOCKET}") if path.stem != str(os.getpid())]
        texts = [text for text in await asyncio.gather(*map(_fetch, live)) if text is not None]
        ended = [(path.read_bytes(), True) for path in folder.glob(f"*{_ENDED}")]
        return Response(
            summed([(self._own(), False), *((text, False) for text in texts), *ended]),
            media_type="text/plain; version=0.0.4; charset=utf-8",
        )


async def _fetch(path: Path) -> bytes | None:
    """Returns the metrics of another worker, None where it has ended or does not answer."""
    transport = httpx2.AsyncHTTPTransport(uds=str(path))
    try:
        async with httpx2.AsyncClient(transport=transport, timeout=_TIMEOUT, trust_env=False) as client:
            return (await client.get("http://worker/metrics")).content
    except httpx2.TransportError:
        return None


class _Summed(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def summed(expositions: Iterable[tuple[bytes, bool]]) -> bytes:
    """Adds metrics in the Prometheus text format by name and labels; of an ended worker (True) no gauges."""
    families: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for text, has_ended in expositions:
        for family in text_string_to_metric_families(text.decode("utf-8")):
            if has_ended and family.type == "gauge":
                continue
            families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            sums = values.setdefault(family.name, {})
            for sample in family.samples:
                key = (sample.name, tuple(sorted(sample.labels.items())))
                sums[key] = sums.get(key, 0.0) + sample.value
    for name, family in families.items():
        for (sample_name, labels), value in values[name].items():
            family.add_sample(sample_name, dict(labels), value)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Summed(families.values()))
    return generate_latest(registry)

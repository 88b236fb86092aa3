"""Metrics of all processes: their sum, so that a scrape of any worker has all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from proxy.app.operator_page.reload_status import ReloadStatus, write_status

METRICS_LEFT = ".ended"  # what a process leaves, so that no counter runs backwards


class _Families(Collector):
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
    return _text(families.values())


def leave_reload(folder: str, status: ReloadStatus) -> None:
    """Leaves the result of a reload of all workers in *folder*, for the operator page and for the metrics."""
    write_status(folder, status)
    family = CounterMetricFamily("fal_proxy_reloads", "Reloads of the configuration.", labels=["result"])
    family.add_metric(["applied"], status.generation - 1)
    family.add_metric(["refused"], status.refusals)
    file = Path(folder) / f"reloads{METRICS_LEFT}"
    file.with_suffix(".tmp").write_bytes(_text([family]))
    file.with_suffix(".tmp").rename(file)


def _text(families: Iterable[Metric]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(families))
    return generate_latest(registry)

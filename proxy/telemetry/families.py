"""Metric families as plain values: merged over workers, and written for Prometheus."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

import orjson
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

Kind = Literal["counter", "gauge", "histogram"]
# How the values of workers make one: their sum, or the largest, for ages and for switches that are 0 or 1.
Merge = Literal["sum", "max"]
Sample = tuple[str, Mapping[str, str], float]  # suffix of the name, labels, value


class Family(NamedTuple):
    """All samples of one metric. *name* has no `_total`; *labels* does not have `le`."""

    name: str
    kind: Kind
    documentation: str
    samples: tuple[Sample, ...]
    merge: Merge = "sum"
    labels: tuple[str, ...] = ()


def dump(families: Iterable[Family]) -> bytes:
    return orjson.dumps([tuple(family) for family in families])


def load(content: bytes) -> list[Family]:
    return [
        Family(name, kind, documentation, tuple(map(_sample, samples)), merge, tuple(labels))
        for name, kind, documentation, samples, merge, labels in orjson.loads(content)
    ]


def _sample(values: tuple[str, dict[str, str], float | None]) -> Sample:
    suffix, labels, value = values
    return suffix, labels, math.inf if value is None else value  # JSON has no infinity: orjson writes null


def without_gauges(families: Iterable[Family]) -> list[Family]:
    """Returns the families that only grow, which is what stays of a worker that has ended."""
    return [family for family in families if family.kind != "gauge"]


def merged(processes: Iterable[Iterable[Family]]) -> list[Family]:
    """Returns the families of several processes as one, by name, suffix and labels."""
    first: dict[str, Family] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for families in processes:
        for family in families:
            first.setdefault(family.name, family)
            known = values.setdefault(family.name, {})
            for suffix, labels, value in family.samples:
                key = (suffix, tuple(labels.items()))
                before = known.get(key)
                known[key] = (
                    value if before is None else max(before, value) if family.merge == "max" else before + value
                )
    return [
        family._replace(
            samples=tuple((suffix, dict(labels), value) for (suffix, labels), value in values[name].items())
        )
        for name, family in first.items()
    ]


class _Families(Collector):
    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            metric = Metric(family.name, family.documentation, family.kind)
            for suffix, labels, value in family.samples:
                metric.add_sample(family.name + suffix, dict(labels), value)
            yield metric


def exposition(families: Iterable[Family]) -> bytes:
    """Returns *families* in the Prometheus text format 0.0.4."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(families))
    return generate_latest(registry)

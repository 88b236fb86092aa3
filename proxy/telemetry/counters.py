"""Counters and histograms by label values. They are plain numbers, made into metrics at a scrape.

The children of prometheus_client take a lock and look up labels for each event, some 4 µs a request. These are for one
thread, that of the event loop, which also answers the scrape.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

MAX_CHILDREN = 1000  # label sets of one metric; further ones count as "other"

Labels = tuple[str | int, ...]


class Counter(Collector):
    """A counter with *labels*, exposed as `<name>_total`."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._counts: dict[Labels, int] = {}

    def add(self, *values: str | int) -> None:
        """Counts one event under a value for each label."""
        if values not in self._counts and len(self._counts) >= MAX_CHILDREN:
            values = ("other",) * len(values)
        self._counts[values] = self._counts.get(values, 0) + 1

    def sums(self, label: str) -> dict[str, int]:
        """Returns the counts by the values of one of the labels."""
        place = self._labels.index(label)
        sums: dict[str, int] = {}
        for values, count in self._counts.items():
            sums[str(values[place])] = sums.get(str(values[place]), 0) + count
        return sums

    def collect(self) -> Iterable[Metric]:
        """Returns the counts as a metric of prometheus_client."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, count in self._counts.items():
            family.add_metric([str(value) for value in values], count)
        return [family]


class Durations(Collector):
    """A histogram of seconds by one *label*, in buckets with the upper *bounds*.

    The number of label values is not limited, so they must be constants of the program.
    """

    def __init__(self, name: str, documentation: str, label: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._documentation = documentation
        self._label = label
        self._bounds = bounds
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def observe(self, value: str, seconds: float) -> None:
        """Adds a duration in *seconds* under the label *value*."""
        if value not in self._counts:
            self._counts[value] = [0] * (len(self._bounds) + 1)
            self._sums[value] = 0.0
        self._counts[value][bisect_left(self._bounds, seconds)] += 1
        self._sums[value] += seconds

    def collect(self) -> Iterable[Metric]:
        """Returns the durations as a metric of prometheus_client."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=[self._label])
        for value, counts in self._counts.items():
            total, buckets = 0, []
            for bound, count in zip((*map(str, self._bounds), "+Inf"), counts, strict=True):
                total += count
                buckets.append((bound, float(total)))
            family.add_metric([value], buckets, self._sums[value])
        return [family]

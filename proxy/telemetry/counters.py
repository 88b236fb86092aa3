"""Counters and histograms by label values. They are plain numbers, made into metrics at a scrape.

The children of prometheus_client take a lock and look up labels for each event, some 4 µs a request. These are for one
thread, that of the event loop, which also answers the scrape.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from proxy.telemetry.families import Family, Sample

MAX_CHILDREN = 2000  # label sets of one metric; further ones count as "other"

Labels = tuple[str | int, ...]


class Counter:
    """A counter with *labels*, exposed as `<name>_total`."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self._name = name
        self._documentation = documentation
        self._counts: dict[Labels, list[int]] = {}

    def add(self, *values: str | int, count: int = 1) -> None:
        """Counts *count* events under a value for each label."""
        self.cell(values)[0] += count

    def cell(self, values: Labels) -> list[int]:
        """Returns the count under a value for each label, as a list of one number to be added to."""
        cell = self._counts.get(values)
        if cell is None:
            if len(self._counts) >= MAX_CHILDREN:
                values = ("other",) * len(values)
            cell = self._counts.setdefault(values, [0])
        return cell

    def family(self) -> Family:
        """Returns the counts."""
        samples = tuple(
            ("_total", label_values(self.labels, values), count) for values, (count,) in self._counts.items()
        )
        return Family(self._name, "counter", self._documentation, samples, labels=self.labels)

    def sums(self, label: str) -> dict[str, int]:
        """Returns the counts by the values of one of the labels."""
        place = self.labels.index(label)
        sums: dict[str, int] = {}
        for values, (count,) in self._counts.items():
            sums[str(values[place])] = sums.get(str(values[place]), 0) + count
        return sums


class Durations:
    """A histogram of seconds by *labels*, in buckets with the upper *bounds*.

    The number of label values is not limited, so they must be constants of the program or listed endpoints.
    """

    def __init__(self, name: str, documentation: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self.labels = tuple(labels)
        self._name = name
        self._documentation = documentation
        self.bounds = tuple(bounds)
        # The count of each bucket, and last the sum in seconds: one look-up for both.
        self._series: dict[Labels, list[float]] = {}

    def observe(self, values: Labels, seconds: float) -> None:
        """Adds a duration in *seconds* under a value for each label."""
        series = self.series(values)
        series[bisect_left(self.bounds, seconds)] += 1
        series[-1] += seconds

    def series(self, values: Labels) -> list[float]:
        """Returns the count of each bucket, and last the sum in seconds, under a value for each label."""
        series = self._series.get(values)
        if series is None:
            series = self._series[values] = [0] * (len(self.bounds) + 2)
        return series

    def family(self) -> Family:
        """Returns the durations as cumulative buckets."""
        samples: list[Sample] = []
        for values, (*counts, seconds) in self._series.items():
            labels, total = label_values(self.labels, values), 0.0
            for bound, count in zip((*map(str, self.bounds), "+Inf"), counts, strict=True):
                total += count
                samples.append(("_bucket", {**labels, "le": bound}, total))
            samples += [("_count", labels, total), ("_sum", labels, seconds)]
        return Family(self._name, "histogram", self._documentation, tuple(samples), labels=self.labels)


def label_values(labels: Sequence[str], values: Labels) -> dict[str, str]:
    """Returns the values by label, as text."""
    return dict(zip(labels, map(str, values), strict=True))

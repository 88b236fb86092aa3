from __future__ import annotations

import math

import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.telemetry.counters import MAX_CHILDREN, Counter, Durations
from proxy.telemetry.families import exposition

Samples = dict[tuple[str, ...], float]


def samples(metric: Counter | Durations) -> Samples:
    """Returns samples by name and label values in order, as a scrape reads them. Fails on a repeated one."""
    found: Samples = {}
    for family in text_string_to_metric_families(text(metric)):
        for sample in family.samples:
            key = (sample.name, *sample.labels.values())
            assert key not in found
            found[key] = sample.value
    return found


def text(metric: Counter | Durations) -> str:
    return exposition([metric.family()]).decode()


def test_a_counter_counts_by_label_values() -> None:
    """Each set of label values is counted by itself, with any characters in the values."""
    counter = Counter("hits", "Hits.", ["page", "status"])
    for values in [("a", 200), ("a", 404), ("a", 200), ("b", 200), ('"\n\\', 0)]:
        counter.add(*values)

    assert samples(counter) == {
        ("hits_total", "a", "200"): 2,
        ("hits_total", "a", "404"): 1,
        ("hits_total", "b", "200"): 1,
        ("hits_total", '"\n\\', "0"): 1,
    }


def test_a_counter_without_labels() -> None:
    """A counter without labels has one child, once there was an event."""
    counter = Counter("hits", "Hits.", [])
    assert samples(counter) == {}
    counter.add()
    counter.add()

    assert samples(counter) == {("hits_total",): 2}


def test_a_scrape_reads_what_a_counter_is_for() -> None:
    """Type, help and label names are exposed, also before the first event."""
    counter = Counter("hits", "All the hits.", ["page"])
    assert "# HELP hits_total All the hits.\n# TYPE hits_total counter\n" in text(counter)
    counter.add("a")

    assert 'hits_total{page="a"} 1.0\n' in text(counter)


def test_a_scrape_changes_nothing() -> None:
    """Two in a row read the same, and counting goes on from there."""
    counter = Counter("hits", "Hits.", ["page"])
    counter.add("a")
    assert samples(counter) == samples(counter)
    counter.add("a")

    assert samples(counter) == {("hits_total", "a"): 2}


def test_label_values_without_end_do_not_fill_the_memory() -> None:
    """The first label sets keep their counts, all others share one, and no event is lost."""
    counter = Counter("hits", "Hits.", ["page", "status"])
    for number in range(MAX_CHILDREN + 50):
        counter.add(f"page-{number}", 200)
    counter.add("page-0", 200)
    counter.add(f"page-{MAX_CHILDREN - 1}", 200)
    counter.add(f"page-{MAX_CHILDREN}", 200)

    found = samples(counter)
    assert len(found) == MAX_CHILDREN + 1
    assert found["hits_total", "other", "other"] == 51
    assert found["hits_total", "page-0", "200"] == found["hits_total", f"page-{MAX_CHILDREN - 1}", "200"] == 2
    assert sum(found.values()) == MAX_CHILDREN + 53


# (seconds, the number of events in the buckets up to 0.5, 1 and any)
EDGES = {
    "nothing": (0.0, [1, 1, 1]),
    "at-the-first": (0.5, [1, 1, 1]),
    "above-the-first": (math.nextafter(0.5, 1), [0, 1, 1]),
    "at-the-last": (1.0, [0, 1, 1]),
    "above-the-last": (1.25, [0, 0, 1]),
}


@pytest.mark.parametrize("name", EDGES)
def test_a_bucket_holds_its_bound(name: str) -> None:
    """A bucket counts values less than or equal to its bound; the last one counts all."""
    seconds, counts = EDGES[name]
    durations = Durations("took_seconds", "Time.", ["action"], [0.5, 1.0])
    durations.observe(("a",), seconds)

    found = samples(durations)
    assert [found["took_seconds_bucket", "a", bound] for bound in ("0.5", "1.0", "+Inf")] == counts
    assert found["took_seconds_count", "a"] == 1
    assert found["took_seconds_sum", "a"] == seconds


def test_durations_add_up_by_label() -> None:
    """Buckets, count and sum are of one label value each."""
    durations = Durations("took_seconds", "Time.", ["action"], [0.5, 1.0])
    for value, seconds in [("a", 0.25), ("b", 8.0), ("a", 0.75), ("a", 0.5), ("a", 2.0)]:
        durations.observe((value,), seconds)

    assert samples(durations) == {
        ("took_seconds_bucket", "a", "0.5"): 2,
        ("took_seconds_bucket", "a", "1.0"): 3,
        ("took_seconds_bucket", "a", "+Inf"): 4,
        ("took_seconds_count", "a"): 4,
        ("took_seconds_sum", "a"): 3.5,
        ("took_seconds_bucket", "b", "0.5"): 0,
        ("took_seconds_bucket", "b", "1.0"): 0,
        ("took_seconds_bucket", "b", "+Inf"): 1,
        ("took_seconds_count", "b"): 1,
        ("took_seconds_sum", "b"): 8.0,
    }


def test_a_scrape_reads_what_a_histogram_is_for() -> None:
    """Type, help and label names are exposed, also before the first event."""
    durations = Durations("took_seconds", "How long.", ["action"], [0.5])
    assert "# HELP took_seconds How long.\n# TYPE took_seconds histogram\n" in text(durations)
    durations.observe(("a",), 0.25)

    assert 'took_seconds_bucket{action="a",le="0.5"} 1.0\n' in text(durations)
    assert 'took_seconds_sum{action="a"} 0.25\n' in text(durations)

from __future__ import annotations

import math

from proxy.telemetry.families import Family, dump, exposition, load, merged, without_gauges

COUNTER = Family("a", "counter", "Help.", (("_total", {"x": "1"}, 2.0),))
GAUGE = Family("g", "gauge", "Help.", (("", {}, 2.0),))
SWITCH = GAUGE._replace(name="s", merge="max")


def test_families_as_bytes() -> None:
    """Another worker loads the families that one has dumped."""
    endless = GAUGE._replace(samples=(("", {}, math.inf),))

    assert load(dump([COUNTER, endless, SWITCH])) == [COUNTER, endless, SWITCH]


def test_values_are_merged_by_name_and_labels() -> None:
    """Samples of the same labels are added, or the largest is taken; others stand beside them."""
    other = COUNTER._replace(samples=(("_total", {"x": "1"}, 3.0), ("_total", {"x": "2"}, 4.0)))
    found = merged([[COUNTER, GAUGE, SWITCH], [other, GAUGE, SWITCH]])

    assert [family.samples for family in found] == [
        (("_total", {"x": "1"}, 5.0), ("_total", {"x": "2"}, 4.0)),
        (("", {}, 4.0),),
        (("", {}, 2.0),),
    ]


def test_the_text_for_prometheus() -> None:
    """Each family has its help and its type; label values are escaped."""
    text = exposition([COUNTER._replace(samples=(("_total", {"x": '"\n'}, 1.0),)), GAUGE]).decode()

    assert '# HELP a_total Help.\n# TYPE a_total counter\na_total{x="\\"\\n"} 1.0\n' in text
    assert "# TYPE g gauge\ng 2.0\n" in text


def test_what_stays_of_an_ended_worker() -> None:
    """Gauges end with their worker."""
    assert without_gauges([COUNTER, GAUGE]) == [COUNTER]

from __future__ import annotations

from proxy.app.process.worker_metrics import summed

COUNTER = '# HELP a_total Help.\n# TYPE a_total counter\na_total{x="1"} %s\n'
GAUGE = "# HELP g Help.\n# TYPE g gauge\ng %s\n"


def test_values_are_added_by_name_and_labels() -> None:
    """Gauges are added too, but not those of workers that have ended."""
    live, ended = COUNTER % 1 + GAUGE % 2, COUNTER % 4 + GAUGE % 8
    page = summed([(live.encode(), False), (live.encode(), False), (ended.encode(), True)]).decode()

    assert 'a_total{x="1"} 6.0\n' in page
    assert "g 4.0\n" in page
    assert page.count("# TYPE a_total counter") == 1

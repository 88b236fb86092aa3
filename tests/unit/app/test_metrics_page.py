from __future__ import annotations

import re

from support.metric_table import all_families, page_table, table


async def test_the_page_has_every_metric() -> None:
    """docs/metrics.md has each metric with its type, labels, merge and meaning, and no other."""
    assert page_table() == await table(), "run tests/support/metric_table.py, which writes the table"


async def test_names_follow_the_conventions_of_prometheus() -> None:
    """Names are of the gateway, or those that Prometheus has for processes; durations are in seconds."""
    for family in await all_families():
        assert re.fullmatch(r"(fal_proxy|process|python)_[a-z_]+", family.name)
        assert family.kind != "histogram" or family.name.endswith("_seconds")
        assert "_ms" not in family.name

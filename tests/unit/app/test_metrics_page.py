from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.in_process_gateway import AUDIENCE, ENVIRON, ISSUER, document

from proxy.app.application import Application
from proxy.app.process.supervisor import supervisor_counters
from proxy.app.setup.components import build_components
from proxy.config.loader import read
from proxy.telemetry.families import Family
from proxy.telemetry.json_log import JsonLogWriter

PAGE = Path(__file__).parents[3] / "docs/metrics.md"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([\w, ]*?) ?\| (\w+) \| (.+) \|$", re.MULTILINE)
REDIS: dict[str, object] = {
    "store": {"kind": "redis"},
    "ledger": {"kind": "redis"},
    "sessions": [{"issuer": ISSUER, "audience": AUDIENCE, "algorithm": "RS256", "jwks_url": "https://a.test/jwks"}],
}


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[JsonLogWriter]:
    journal = JsonLogWriter(os.open(tmp_path / "journal", os.O_WRONLY | os.O_CREAT))
    yield journal
    journal.close()


def exposed_name(family: Family) -> str:
    return family.name + ("_total" if family.kind == "counter" else "")


async def all_families(journal: JsonLogWriter) -> list[Family]:
    """The metrics of a gateway with a file, of one with Redis, and of a supervisor."""
    environ = {**ENVIRON, "FAL_PROXY_REDIS_URL": "redis://127.0.0.1:1/0"}
    families = [counter.family() for counter in supervisor_counters()]
    for sections in ({}, REDIS):
        application = Application(build_components(read(document(**sections), environ, base=Path())), journal)
        families += application.families()
    return families


async def test_the_page_has_every_metric(journal: JsonLogWriter) -> None:
    """docs/metrics.md has each metric with its type, labels, merge and meaning, and no other."""
    expected = {
        exposed_name(one): (one.kind, ", ".join(one.labels), one.merge, one.documentation)
        for one in await all_families(journal)
    }
    rows = {name: tuple(rest) for name, *rest in ROW.findall(PAGE.read_text(encoding="utf-8"))}

    assert rows == expected


async def test_names_follow_the_conventions_of_prometheus(journal: JsonLogWriter) -> None:
    """Names are of the gateway, or those that Prometheus has for processes; durations are in seconds."""
    for family in await all_families(journal):
        assert re.fullmatch(r"(fal_proxy|process|python)_[a-z_]+", family.name)
        assert family.kind != "histogram" or family.name.endswith("_seconds")
        assert "_ms" not in family.name

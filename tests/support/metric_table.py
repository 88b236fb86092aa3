"""Rows of docs/metrics.md, from the metrics of whole gateways.

`PYTHONPATH=tests .venv/bin/python tests/support/metric_table.py` writes them into the page.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from support.in_process_gateway import AUDIENCE, ENVIRON, ISSUER, document

from proxy.app.application import Application
from proxy.app.process.supervisor import supervisor_counters
from proxy.app.setup.components import build_components
from proxy.config.loader import read
from proxy.telemetry.families import Family
from proxy.telemetry.json_log import JsonLogWriter

PAGE = Path(__file__).parents[2] / "docs/metrics.md"
START = "|---|---|---|---|---|\n"
REDIS: dict[str, object] = {
    "store": {"kind": "redis"},
    "ledger": {"kind": "redis"},
    "sessions": [{"issuer": ISSUER, "audience": AUDIENCE, "algorithm": "RS256", "jwks_url": "https://a.test/jwks"}],
}


async def all_families() -> list[Family]:
    """Returns the metrics of a gateway with a file, of one with Redis, and of a supervisor, each once."""
    environ = {**ENVIRON, "FAL_PROXY_REDIS_URL": "redis://127.0.0.1:1/0"}
    found = {counter.family().name: counter.family() for counter in supervisor_counters()}
    descriptor = os.open(os.devnull, os.O_WRONLY)
    journal = JsonLogWriter(descriptor)
    for sections in ({}, REDIS):
        application = Application(build_components(read(document(**sections), environ, base=Path())), journal)
        found |= {family.name: family for family in application.families()}
    journal.close()
    os.close(descriptor)
    return [found[name] for name in sorted(found)]


def row(family: Family) -> str:
    name = family.name + ("_total" if family.kind == "counter" else "")
    labels = f" {', '.join(family.labels)}" if family.labels else ""
    return f"| `{name}` | {family.kind} |{labels} | {family.merge} | {family.documentation} |\n"


async def table() -> str:
    return "".join(map(row, await all_families()))


def page_table() -> str:
    return PAGE.read_text(encoding="utf-8").partition(START)[2]


if __name__ == "__main__":
    head, start, _ = PAGE.read_text(encoding="utf-8").partition(START)
    PAGE.write_text(head + start + asyncio.run(table()), encoding="utf-8")

"""The command `usage`."""

from __future__ import annotations

import json
import time
from datetime import UTC, date, datetime
from pathlib import Path

import click

from proxy.app.service import run
from proxy.app.setup.billing.ledgers import MEMORY, build_ledger
from proxy.app.setup.components import Components, build_components
from proxy.billing.ledger.interface import DailyUsage
from proxy.billing.ledger.sqlite.journal import read_days
from proxy.billing.usage_report import By, csv_text, itemized, summed, table
from proxy.cli.options import CONFIG, load_config


@click.command()
@CONFIG
@click.option("--by", type=click.Choice(["user", "endpoint", "day"]), default="user", show_default=True)
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="First day, UTC. Default: the first of this month.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="Last day, UTC. Default: today.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
@click.option("--csv", "as_csv", is_flag=True, help="CSV with a line for each day, user and endpoint.")
def usage(config: Path, by: By, since: datetime | None, until: datetime | None, as_json: bool, as_csv: bool) -> None:
    """Reports reservations, spending, refunds and unknown outcomes. Users appear as digests."""
    loaded = load_config(config)
    section = loaded.ledger
    if section.kind == "sqlite" and section.path == MEMORY:
        raise ValueError('ledger.path is ":memory:": such a ledger keeps nothing, so there is no usage to report')
    today = datetime.now(UTC).date()
    first = since.date() if since else today.replace(day=1)
    last = until.date() if until else today
    if section.kind == "sqlite":
        lines = read_days(str(loaded.base / section.path), first, last)
    else:
        lines = _read_store(build_components(loaded), first, last)
    if as_csv:
        click.echo(csv_text(itemized(lines)), nl=False)
        return
    rows = summed(lines, by)
    click.echo(json.dumps(rows) if as_json else table(rows))


def _read_store(components: Components, since: date, until: date) -> tuple[DailyUsage, ...]:
    lines: list[DailyUsage] = []

    async def read() -> None:
        ledger = build_ledger(components, is_command=True)
        await ledger.start(now=time.time())
        lines.extend(await ledger.report(since=since, until=until))
        await ledger.aclose()

    run(read)
    return tuple(lines)

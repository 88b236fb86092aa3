"""The command `usage`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from proxy.app.service import run
from proxy.app.setup.components import build_components
from proxy.app.setup.ledgers import build_ledger
from proxy.billing.usage_report import By, summed, table
from proxy.cli.options import CONFIG, load_config
from proxy.strict_json import Json


@click.command()
@CONFIG
@click.option("--by", type=click.Choice(["user", "endpoint", "day"]), default="user", show_default=True)
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="First day, UTC. Default: the first of this month.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="Last day, UTC. Default: today.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
def usage(config: Path, by: By, since: datetime | None, until: datetime | None, as_json: bool) -> None:
    """Reports reservations, spending, refunds and unknown outcomes. Users appear as digests."""
    parts = build_components(load_config(config))
    today = datetime.now(UTC).date()
    first = since.date() if since else today.replace(day=1)
    rows: list[dict[str, Json]] = []

    async def read() -> None:
        ledger = build_ledger(parts)
        lines = await ledger.report(since=first, until=until.date() if until else today)
        rows.extend(summed(lines, by))
        await ledger.aclose()

    run(read)
    click.echo(json.dumps(rows) if as_json else table(rows))

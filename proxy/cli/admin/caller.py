"""The command `caller`."""

from __future__ import annotations

from pathlib import Path

import click

from proxy.cli.admin.ledger_access import store_key
from proxy.cli.options import CONFIG_VARIABLE, DEFAULT_CONFIG, load_config


@click.command()
@click.argument("issuer")
@click.argument("subject")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar=CONFIG_VARIABLE,
    help=f"The configuration with [privacy] secret_env. Default: {DEFAULT_CONFIG}, where there is one.",
)
def caller(issuer: str, subject: str, config: Path | None) -> None:
    """Shows the key of SUBJECT of ISSUER, by which `usage` and stores know the user."""
    if config is None and not Path(DEFAULT_CONFIG).exists():
        from proxy.auth.caller import caller_key

        click.echo(caller_key(issuer, subject))
        return
    click.echo(store_key(load_config(config or Path(DEFAULT_CONFIG)), issuer, subject))

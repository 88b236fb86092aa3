"""The command `check`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from proxy.app.live_checks import check_live
from proxy.app.setup.billing.ledgers import check_ledger_file
from proxy.app.setup.components import build_components
from proxy.cli.options import CONFIG, load_config
from proxy.config.advice import advice
from proxy.errors import ConfigError


@click.command()
@CONFIG
@click.option("--live", is_flag=True, help="Also connect to fal, identity providers and the store; starts no job.")
def check(config: Path, live: bool) -> None:
    """Reports every problem of CONFIG and its environment; opens no listener."""
    loaded = load_config(config)
    components = build_components(loaded)
    problems, ledger_warnings = check_ledger_file(loaded)
    for warning in (*loaded.warnings, *advice(loaded), *ledger_warnings):
        click.echo(f"warning: {warning.key}: {warning.message}", err=True)
    if problems:
        raise ConfigError(problems)
    for policy in components.policies:
        for text in policy.warnings:
            click.echo(f"warning: {policy.endpoint}: {text}", err=True)
    if live and (problems := asyncio.run(check_live(components))):
        raise ConfigError(problems)
    click.echo(f"{config}: good; {len(loaded.endpoints)} endpoint(s), {len(components.issuers)} issuer(s)")

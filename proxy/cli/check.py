"""The command `check`."""

from __future__ import annotations

from pathlib import Path

import click

from proxy.app.setup.components import build_components
from proxy.cli.options import CONFIG, load_config


@click.command()
@CONFIG
def check(config: Path) -> None:
    """Reports every problem of CONFIG and its environment; opens no listener."""
    loaded = load_config(config)
    for warning in loaded.warnings:
        click.echo(f"warning: {warning.key}: {warning.message}", err=True)
    parts = build_components(loaded)
    click.echo(f"{config}: good; {len(parts.listings)} endpoint(s), {len(parts.issuers)} issuer(s)")

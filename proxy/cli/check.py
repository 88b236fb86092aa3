"""The command `check`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TextIO

import click

from proxy.app.live_checks import check_live
from proxy.app.setup.billing.ledgers import check_ledger_file
from proxy.app.setup.components import Components, build_components
from proxy.cli.lazy_group import DISTRIBUTION
from proxy.cli.options import CONFIG, load_config
from proxy.config.advice import advice
from proxy.errors import ConfigError

SANDBOX_HINT = f"pip install '{DISTRIBUTION}[sandbox]'"


@click.command()
@CONFIG
@click.option("--live", is_flag=True, help="Also connect to fal, identity providers and the store; starts no job.")
@click.option("--submit", is_flag=True, help="With --live: run one job at fal, which fal bills; takes [sandbox].")
@click.option("--endpoint", help="With --submit: the endpoint of the job; the first listed one by default.")
@click.option("--input", "payload", type=click.File(), help="With --submit: JSON of the job's input.")
def check(config: Path, live: bool, submit: bool, endpoint: str | None, payload: TextIO | None) -> None:
    """Reports every problem of CONFIG and its environment; opens no listener.

    With --live --submit one cheap job of your key goes through submit, status, stream, result, cancel and upload. Each
    answer is compared with that of the sandbox, and each difference is a problem.
    """
    if submit and not live:
        raise click.UsageError("--submit needs --live")
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
    if submit:
        _check_contract(components, endpoint, payload)
    click.echo(f"{config}: good; {len(loaded.endpoints)} endpoint(s), {len(components.issuers)} issuer(s)")


def _check_contract(components: Components, endpoint: str | None, payload: TextIO | None) -> None:
    """Raises ConfigError with the differences of fal, ClickException without the extra."""
    try:
        from proxy.demo.contract_check import check_contract
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error}; install it with: {SANDBOX_HINT}") from error
    content = None if payload is None else json.load(payload)
    if problems := asyncio.run(check_contract(components, endpoint, content)):
        raise ConfigError(problems)
    click.echo("fal answers as the sandbox does: submit, status, stream, result, cancel, upload")

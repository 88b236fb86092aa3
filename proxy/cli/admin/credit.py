"""The commands `credit`: units beyond a budget's limit for one user."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from proxy.billing.budgets import user_account
from proxy.billing.ledger.money import MICRO
from proxy.cli.admin.ledger_access import CONFIG_OPTION, take_step, user_key
from proxy.cli.options import load_config
from proxy.config.loader import Config
from proxy.errors import ConfigError, Problem
from proxy.near_names import did_you_mean

_DATE = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"])


@click.group()
def credit() -> None:
    """Grants and lists units beyond the limit of a budget."""


@credit.command()
@click.argument("issuer")
@click.argument("subject")
@click.argument("budget")
@click.argument("amount", type=click.FloatRange(min=0, min_open=True, max=1e9))
@click.option("--expires", type=_DATE, help="First moment, UTC, at which it counts no more. Default: never.")
@CONFIG_OPTION
def grant(issuer: str, subject: str, budget: str, amount: float, expires: datetime | None, config: Path) -> None:
    """Grants AMOUNT units to SUBJECT of ISSUER, for use when BUDGET is spent."""
    loaded = load_config(config)
    _check_budget(loaded, budget)
    granted = take_step(
        loaded,
        "credit grant",
        account=user_account(budget, user_key(loaded, issuer, subject)),
        amount=round(amount * MICRO),
        expires=None if expires is None else expires.replace(tzinfo=UTC).timestamp(),
    )
    click.echo(json.dumps(granted))


@credit.command(name="list")
@click.argument("issuer", required=False)
@click.argument("subject", required=False)
@click.argument("budget", required=False)
@CONFIG_OPTION
def list_credits(issuer: str | None, subject: str | None, budget: str | None, config: Path) -> None:
    """Lists the credits that are left: all, or those of SUBJECT of ISSUER in BUDGET (or in every budget)."""
    if issuer is not None and subject is None:
        raise click.UsageError("ISSUER takes SUBJECT")
    loaded = load_config(config)
    accounts: list[str | None] = [None]
    if issuer is not None and subject is not None:
        key = user_key(loaded, issuer, subject)
        names = [budget] if budget is not None else [one.name for one in loaded.budgets if one.per == "user"]
        accounts = [user_account(name, key) for name in names]
    for account in accounts:
        credits_left = take_step(loaded, "credit list", account=account)
        for line in credits_left if isinstance(credits_left, list) else []:
            click.echo(json.dumps(line))


def _check_budget(config: Config, budget: str) -> None:
    """Raises ConfigError for a budget that is not counted for each user."""
    names = [section.name for section in config.budgets if section.per == "user"]
    if budget not in names:
        problem = f'there is no budget {budget!r} with per = "user"{did_you_mean(budget, names)}'
        raise ConfigError([Problem("budgets", problem)])

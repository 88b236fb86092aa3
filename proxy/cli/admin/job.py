"""The commands `job`: what an operator does about one job."""

from __future__ import annotations

import json
from pathlib import Path

import click

from proxy.auth.job_handles import parse_handle
from proxy.cli.admin.ledger_access import CONFIG_OPTION, take_step
from proxy.cli.options import load_config
from proxy.config.loader import Config
from proxy.fal_api.endpoint_ids import app_id

_NAME = click.argument("name")


@click.group()
def job() -> None:
    """Shows, refunds or releases one job.

    NAME is the job's handle, `<owner>/<alias>/<fal's request id>`, or the request id of the submit in the log.
    """


@job.command()
@_NAME
@CONFIG_OPTION
def show(name: str, config: Path) -> None:
    """Shows the line item of the job NAME."""
    _take(name, "job show", config)


@job.command()
@_NAME
@CONFIG_OPTION
def refund(name: str, config: Path) -> None:
    """Gives back the price of the job NAME, and ends it where it is open."""
    _take(name, "job refund", config)


@job.command()
@_NAME
@CONFIG_OPTION
def release(name: str, config: Path) -> None:
    """Frees the in-flight slots of the job NAME, and nothing else."""
    _take(name, "job release", config)


def _take(name: str, step: str, config: Path) -> None:
    loaded = load_config(config)
    click.echo(json.dumps(take_step(loaded, step, names=[*job_names(loaded, name)])))


def job_names(config: Config, name: str) -> list[str]:
    """Returns the ledger's possible names for *name*: a handle has no app, so all are tried."""
    try:
        upstream_id = parse_handle(name).upstream_id
    except ValueError:
        return [name]
    return [f"{app}/{upstream_id}" for app in sorted({app_id(endpoint.id) for endpoint in config.endpoints})]

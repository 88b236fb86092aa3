"""The command `handle`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from proxy.app.setup.components import build_components
from proxy.auth.caller import caller_key
from proxy.auth.job_handles import JobHandles, parse_handle
from proxy.cli.options import load_config
from proxy.errors import JobNotFound


@click.command()
@click.argument("handle")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Also check the handle's owner.")
@click.option("--issuer", help="With --config: the issuer of the presumed owner.")
@click.option("--subject", help="With --config: the subject of the presumed owner.")
@click.option("--app", help="With --config: owner/alias of the endpoint.")
def handle(handle: str, config: Path | None, issuer: str | None, subject: str | None, app: str | None) -> None:
    """Shows the contents of a job HANDLE, and with --config whether it belongs to a caller."""
    job = parse_handle(handle)
    contents = {"upstream_id": job.upstream_id, **({"key_alias": job.key_alias} if job.key_alias else {})}
    if config is not None:
        if issuer is None or subject is None or app is None:
            raise click.UsageError("--config takes --issuer, --subject and --app")
        contents["owner"] = _ownership(
            build_components(load_config(config)).handles, handle, caller_key(issuer, subject), app
        )
    click.echo(json.dumps(contents))


def _ownership(handles: JobHandles, handle: str, owner: str, app: str) -> str:
    try:
        handles.verify(handle, owner=owner, app=app)
    except JobNotFound:
        return "another caller, another app, or forged"
    return "this caller"

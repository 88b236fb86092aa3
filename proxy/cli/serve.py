"""The command `serve`."""

from __future__ import annotations

from pathlib import Path

import click

from proxy.app import service
from proxy.cli.options import CONFIG, load_config

_STDOUT = 1  # the journal goes to the descriptor, past the buffer of sys.stdout


@click.command()
@CONFIG
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="More than one needs Redis.")
@click.option("--host", help="Address to listen on, in place of server.host.")
@click.option("--port", type=int, help="Port to listen on, in place of server.port.")
@click.option("--fd", type=click.IntRange(0), help="Listening socket inherited from the parent process.")
@click.option("--log-format", type=click.Choice(["json", "text"]), help="Form of the journal, in place of log.format.")
def serve(
    config: Path, workers: int, host: str | None, port: int | None, fd: int | None, log_format: str | None
) -> None:
    """Runs the gateway that CONFIG describes."""
    service.serve(
        lambda: load_config(config, log_format=log_format, host=host, port=port), workers=workers, fd=fd, log=_STDOUT
    )

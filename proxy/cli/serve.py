"""The command `serve`."""

from __future__ import annotations

from pathlib import Path

import click

from proxy.app import service
from proxy.cli.options import CONFIG, load_config
from proxy.config.loader import Config

_STDOUT = 1  # the journal goes to the descriptor, past the buffer of sys.stdout


@click.command()
@CONFIG
@click.option("--host", help="Address to listen on, in the place of server.host.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port, in the place of server.port; 0 takes a free one.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="More than one needs Redis.")
@click.option("--fd", type=click.IntRange(0), help="Listening socket inherited from the parent process.")
def serve(config: Path, host: str | None, port: int | None, workers: int, fd: int | None) -> None:
    """Runs the gateway that CONFIG describes."""
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}

    def read() -> Config:
        loaded = load_config(config)
        return loaded.model_copy(update={"server": loaded.server.model_copy(update=given)})

    service.serve(read, workers=workers, fd=fd, log=_STDOUT)

"""The command `serve`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from proxy.app.service import run, serve_workers
from proxy.app.service import serve as serve_parts
from proxy.app.setup.components import build_components
from proxy.cli.options import CONFIG, load_config


@click.command()
@CONFIG
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="More than one needs Redis.")
@click.option("--host", help="Address to listen on, in place of server.host.")
@click.option("--port", type=int, help="Port to listen on, in place of server.port.")
def serve(config: Path, workers: int, host: str | None, port: int | None) -> None:
    """Runs the gateway that CONFIG describes."""
    parts = build_components(load_config(config, host=host, port=port))
    log = sys.stdout.fileno()
    if workers > 1:
        serve_workers(parts, workers, log=log)
    else:
        run(lambda: serve_parts(parts, log=log))

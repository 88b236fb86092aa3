"""The commands `demo` and `sandbox`, which take the extra `[sandbox]`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from proxy.app.service import run
from proxy.demo.demo import demo as run_demo
from proxy.demo.demo import run_sandbox
from proxy.sandbox.models.schema_catalog import CatalogError
from proxy.sandbox.settings import SandboxSettings

SECONDS = click.FloatRange(min=0, max=3600)


@click.command()
@click.option("--port", default=8080, show_default=True, help="0 takes a free one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line once ready, for scripts.")
def demo(port: int, as_json: bool) -> None:
    """Runs the gateway in front of the sandbox; takes no key and no configuration."""
    run(lambda: run_demo(port=port, as_json=as_json, log=sys.stderr.fileno()))


@click.command()
@click.option("--port", default=9000, show_default=True, help="Port of the queue; run, rest and control follow.")
@click.option("--key", "keys", multiple=True, help="A key to accept, id:secret; without any, every key is good.")
@click.option(
    "--schemas",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of schema files and OpenAPI documents, owner__alias.json each.",
)
@click.option("--queue-seconds", type=SECONDS, default=0.5, show_default=True, help="How long a job waits.")
@click.option("--run-seconds", type=SECONDS, default=1.0, show_default=True, help="How long a job runs.")
@click.option(
    "--concurrency", type=click.IntRange(1, 10_000), default=2, show_default=True, help="How many jobs run at once."
)
def sandbox(
    port: int,
    keys: tuple[str, ...],
    schemas: Path | None,
    queue_seconds: float,
    run_seconds: float,
    concurrency: int,
) -> None:
    """Runs the local fal alone, to develop against."""
    settings = SandboxSettings(
        keys=frozenset(keys) or None,
        schemas=schemas,
        queue_seconds=queue_seconds,
        run_seconds=run_seconds,
        concurrency=concurrency,
    )
    try:
        run(lambda: run_sandbox(port=port, settings=settings))
    except CatalogError as exc:
        raise click.ClickException(str(exc)) from exc

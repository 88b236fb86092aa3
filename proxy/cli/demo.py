"""The commands `demo` and `sandbox`, which take the extra `[sandbox]`."""

from __future__ import annotations

import sys

import click

from proxy.app.service import run
from proxy.demo.demo import demo as run_demo
from proxy.demo.demo import run_sandbox


@click.command()
@click.option("--port", default=8080, show_default=True, help="0 takes a free one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line once ready, for scripts.")
def demo(port: int, as_json: bool) -> None:
    """Runs the gateway in front of the sandbox; takes no key and no configuration."""
    run(lambda: run_demo(port=port, as_json=as_json, log=sys.stderr.fileno()))


@click.command()
@click.option("--port", default=9000, show_default=True, help="Port of the queue; run, rest and control follow.")
@click.option("--key", "keys", multiple=True, help="A key to accept, id:secret; without any, every key is good.")
def sandbox(port: int, keys: tuple[str, ...]) -> None:
    """Runs the local fal alone, to develop against."""
    run(lambda: run_sandbox(port=port, keys=frozenset(keys) or None))

"""Programs of `examples/` that run under Node, as processes of their own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.gateway_process import PATIENCE, program

EXAMPLES = Path(__file__).parents[2] / "examples"


def installed(example: str) -> Path:
    """Returns the folder of an example whose npm packages are installed."""
    folder = EXAMPLES / example
    assert (folder / "node_modules").exists(), "run `make test`, which installs the npm packages"
    return folder


def run_node(*arguments: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs `node` to its end in *folder*, with *environ* and nothing else of fal."""
    command = [program("node"), *arguments]
    return subprocess.run(
        command, cwd=folder, env=_plain(environ), capture_output=True, text=True, check=False, timeout=3 * PATIENCE
    )


@contextmanager
def node_server(script: Path, **environ: str) -> Iterator[str]:
    """Runs a server that prints `listening on <port>` for PORT=0. Yields its origin."""
    command = [program("node"), str(script)]
    process = subprocess.Popen(
        command, cwd=script.parent, env=_plain({**environ, "PORT": "0"}), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process:
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().rsplit(maxsplit=1)[-1]}"
        finally:
            process.terminate()


def _plain(environ: dict[str, str]) -> dict[str, str]:
    return {**{key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}, **environ}

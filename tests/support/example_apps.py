"""The apps of `examples/` as processes of their own, with a sandbox and a gateway behind them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.front_proxies import listens
from support.gateway_process import PATIENCE, program, until
from support.in_process_gateway import ENVIRON
from support.servers import toml_text

from proxy.demo.demo import SandboxAddresses

EXAMPLES = Path(__file__).parents[2] / "examples"
FAL_PROXY = str(Path(sys.executable).with_name("fal-proxy"))
# What a server needs of the environment of the tests.
PLAIN = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
START_SECONDS = 60.0  # only waited for in full by a test that fails
SESSION_SECRET = ENVIRON["SESSION_SECRET"]


@dataclass(frozen=True)
class ExampleGateway:
    """A `fal-proxy serve` with the configuration of an example, on a free port."""

    config: Path
    url: str

    def command(self, *arguments: str) -> None:
        """Runs `fal-proxy` on its configuration, as an operator does."""
        command = [FAL_PROXY, *arguments, "--config", str(self.config)]
        subprocess.run(command, env={**os.environ, **ENVIRON}, check=True, capture_output=True, timeout=PATIENCE)


@contextmanager
def example_gateway(
    example: str, home: Path, sandbox: SandboxAddresses, *, origin: str, port: int
) -> Iterator[ExampleGateway]:
    """Serves the configuration of *example* before *sandbox*; nothing is changed in it but places."""
    document = tomllib.loads((EXAMPLES / example / "fal-proxy.toml").read_text(encoding="utf-8"))
    places = {
        "server": {**document["server"], "public_origin": origin},
        "fal": {"queue_origin": sandbox.queue, "run_origin": sandbox.run, "rest_origin": sandbox.rest},
        "admin": {"port": 0},
        "ledger": {"path": str(home / "ledger.db")},
    }
    config = home / "fal-proxy.toml"
    config.write_text(toml_text({**document, **places}), encoding="utf-8")
    command = [FAL_PROXY, "serve", str(config), "--port", str(port)]
    with app_process(command, home, ENVIRON, port=port, log=home / "gateway.log"):
        yield ExampleGateway(config, f"http://127.0.0.1:{port}")


@contextmanager
def app_process(
    command: Sequence[str], folder: Path, environ: Mapping[str, str], *, port: int, log: Path
) -> Iterator[None]:
    """Runs a server in *folder* with *environ* alone, from when it listens until the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env={**PLAIN, **environ}, stdout=output, stderr=output, start_new_session=True
        )
    try:
        until(lambda: process.poll() is not None or listens(port), START_SECONDS)
        assert process.poll() is None, log.read_text(encoding="utf-8")
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # a dev server has processes of its own
        process.wait(PATIENCE)


def node_program(example: str, name: str) -> list[str]:
    """Returns the command of a program that an npm package of *example* brings."""
    path = EXAMPLES / example / "node_modules" / ".bin" / name
    assert path.exists(), "run `make test`, which installs the npm packages"
    return [program("node"), str(path)]

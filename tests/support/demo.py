"""Process of `fal-proxy demo`, for tests that use it as a user does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.gateway_process import PATIENCE

COMMAND = [str(Path(sys.executable).with_name("fal-proxy")), "demo", "--port", "0"]
CANARY = "canary-id:canary-secret-of-the-environment"


@contextmanager
def demo(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A running demo in a process group of its own, stopped as Ctrl-C does."""
    environ = {**os.environ, "FAL_KEY": CANARY}
    with subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environ,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                interrupt(process)


def interrupt(process: subprocess.Popen[str]) -> None:
    """Presses Ctrl-C once: a second one would end it at once and not in good order."""
    process.send_signal(signal.SIGINT)
    process.wait(PATIENCE)


@dataclass(frozen=True)
class Told:
    """JSON line of a demo: its address, that of its sandbox, and a token for each user."""

    url: str
    upstream: str
    control: str
    tokens: Mapping[str, str]


@contextmanager
def told_demo() -> Iterator[Told]:
    with demo("--json") as process:
        assert process.stdout is not None
        yield Told(**json.loads(process.stdout.readline()))

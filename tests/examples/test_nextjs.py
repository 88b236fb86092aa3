"""The example `nextjs` in Chromium, in development and built, and status streams through its rewrite."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from support.example_apps import EXAMPLES, PLAIN, SESSION_SECRET, app_process, example_gateway, node_program
from support.example_page import SETTINGS, use_everything, visit_example
from support.front_proxies import free_port
from support.gateway_process import Rig
from support.stream_fronts import compresses, watch_through
from support.streams import Feed

HERE = EXAMPLES / "nextjs"
BUILD_SECONDS = 300.0  # about 10 on a quiet machine


@contextmanager
def next_server(mode: str, gateway: int, port: int, log: Path) -> Iterator[None]:
    """Runs `next dev` or `next start` before the gateway at the port *gateway*."""
    command = [*node_program("nextjs", "next"), mode, "--hostname", "127.0.0.1", "--port", str(port)]
    with app_process(command, HERE, environ(gateway), port=port, log=log):
        yield


def environ(gateway: int) -> dict[str, str]:
    return {
        "GATEWAY": f"http://127.0.0.1:{gateway}",
        "NEXT_TELEMETRY_DISABLED": "1",
        "SESSION_SECRET": SESSION_SECRET,
    }


@pytest.fixture(scope="module")
def built() -> int:
    """Builds the app, and returns the port of the gateway: rewrites are fixed at the build."""
    gateway = free_port()
    command = [*node_program("nextjs", "next"), "build"]
    done = subprocess.run(
        command, cwd=HERE, env={**PLAIN, **environ(gateway)}, capture_output=True, timeout=BUILD_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    return gateway


def use_page(browser: Browser, rig: Rig, home: Path, mode: str, gateway_port: int) -> None:
    port = free_port()
    origin = f"http://localhost:{port}"
    sandbox = rig.sandbox(SETTINGS)
    with (
        example_gateway("nextjs", home, sandbox, origin=origin, port=gateway_port) as gateway,
        next_server(mode, gateway_port, port, home / "next.log"),
        visit_example(browser, origin, f"next-{mode}", gateway, sandbox) as alice,
    ):
        use_everything(alice)


def test_the_whole_page_in_development(browser: Browser, rig: Rig, tmp_path: Path) -> None:
    """A user signs in, uploads, runs, streams and cancels, and sees a 422 at its field, a 402 and the end."""
    use_page(browser, rig, tmp_path, "dev", free_port())


def test_the_whole_page_in_production(browser: Browser, rig: Rig, tmp_path: Path, built: int) -> None:
    """The built page does the same."""
    use_page(browser, rig, tmp_path, "start", built)


def test_events_arrive_one_by_one(rig: Rig, tmp_path: Path, built: int) -> None:
    """An event arrives before the next one is sent, though `next start` compresses other answers."""
    feed, port = Feed(), free_port()
    gateway = rig.gateway(rig.upstream(feed).url, server={"port": built})
    origin = f"http://127.0.0.1:{port}"
    with next_server("start", built, port, tmp_path / "next.log"):
        assert compresses(gateway, feed, origin)
        watch_through("nextjs", rig, gateway, feed, origin)

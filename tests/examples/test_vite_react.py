"""The example `vite-react` in Chromium: behind Vite's dev server, and built behind the shipped nginx."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser
from support.example_apps import EXAMPLES, SESSION_SECRET, app_process, example_gateway, node_program
from support.example_page import SETTINGS, use_everything, visit_example
from support.front_proxies import free_port
from support.gateway_process import Rig, program
from support.shipped_fronts import nginx, places

HERE = EXAMPLES / "vite-react"
Mode = Callable[[Path, str, int, int], AbstractContextManager[None]]


@contextmanager
def development(home: Path, gateway: str, login: int, port: int) -> Iterator[None]:
    """Vite's dev server with the example's own configuration."""
    command = [*node_program("vite-react", "vite"), "--port", str(port), "--strictPort", "--host", "127.0.0.1"]
    environ = {"GATEWAY": gateway, "LOGIN": f"http://127.0.0.1:{login}"}
    with app_process(command, HERE, environ, port=port, log=home / "vite.log"):
        yield


@contextmanager
def production(home: Path, gateway: str, login: int, port: int) -> Iterator[None]:
    """The built page at the root of the shipped nginx configuration, the login service as its backend."""
    build = [*node_program("vite-react", "vite"), "build", "--outDir", str(home / "dist"), "--logLevel", "error"]
    subprocess.run(build, cwd=HERE, check=True, timeout=300)
    behind = [("127.0.0.1", urlsplit(gateway).port or 0)]
    at = places(home, port, behind, app=("127.0.0.1", login))
    with nginx(replace(at, page=home / "dist")):
        yield


@pytest.mark.parametrize("mode", [development, production], ids=["development", "production"])
def test_the_whole_page(browser: Browser, rig: Rig, tmp_path: Path, mode: Mode) -> None:
    """A user signs in, uploads, runs, streams and cancels, and sees a 422 at its field, a 402 and the end."""
    port, login = free_port(), free_port()
    origin = f"http://localhost:{port}"
    sandbox = rig.sandbox(SETTINGS)
    server = [program("node"), "server/login.js"]
    environ = {"SESSION_SECRET": SESSION_SECRET, "PORT": str(login)}
    with (
        example_gateway("vite-react", tmp_path, sandbox, origin=origin, port=free_port()) as gateway,
        app_process(server, HERE, environ, port=login, log=tmp_path / "login.log"),
        mode(tmp_path, gateway.url, login, port),
        visit_example(browser, origin, f"vite-{mode.__name__}", gateway, sandbox) as alice,
    ):
        use_everything(alice)

"""The wheel alone in a fresh virtual environment, used as a user does.

It needs a package index, or pip's cache of one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from support.budgets import adjacent_ports
from support.front_proxies import free_port
from support.gateway_process import PATIENCE, until

ROOT = Path(__file__).parents[2]
INSTALL_SECONDS = 400.0


class Environment:
    """A virtual environment in *home*/venv.

    Its programs run in *home*, with no variable of fal and no checkout.
    """

    def __init__(self, home: Path, wheel: Path) -> None:
        self.home = home
        self._wheel = wheel
        self._bin = home / "venv" / "bin"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home / "venv")], check=True)

    def install(self, *requirements: str) -> None:
        """Installs *requirements*; `wheel` stands for the built one, as in `wheel[sandbox]`."""
        packages = [text.replace("wheel", str(self._wheel), 1) for text in requirements]
        pip = [sys.executable, "-m", "pip", "--python", str(self._bin / "python"), "--disable-pip-version-check"]
        done = subprocess.run(
            [*pip, "install", "-q", "--no-compile", *packages], capture_output=True, timeout=INSTALL_SECONDS
        )
        assert done.returncode == 0, done.stderr

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self._bin / program), *arguments],
            cwd=self.home,
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=6 * PATIENCE,
        )

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Runs `fal-proxy` with *arguments* until the end of the block."""
        command = [str(self._bin / "fal-proxy"), *arguments]
        with subprocess.Popen(
            command, cwd=self.home, env=self._environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            try:
                yield process
            finally:
                process.terminate()

    @property
    def _environ(self) -> dict[str, str]:
        return {"PATH": str(self._bin), "HOME": str(self.home)}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    home: Path = tmp_path_factory.mktemp("install")
    source = home / "source"  # a copy, as the build reads the version of what it builds
    source.mkdir()
    for name in ("proxy", "README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(home / "dist"), str(source)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    shutil.rmtree(source)
    (wheel,) = (home / "dist").glob("*.whl")
    return Environment(home, wheel)


def answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=PATIENCE, trust_env=False).is_success
    except httpx2.TransportError:
        return False


def test_the_wheel_alone(environment: Environment) -> None:
    """Commands work without extras, and `demo` names the extra that it needs in one line."""
    environment.install("wheel")
    demo = environment.run("fal-proxy", "demo")

    assert environment.run("fal-proxy", "--version").stdout.startswith("fal-proxy, version ")
    assert demo.returncode == 1
    assert demo.stderr.splitlines()[-1].endswith("pip install 'fal-auth-proxy[sandbox]'")
    assert len(demo.stderr.splitlines()) == 1


def test_the_first_steps_with_the_sandbox(environment: Environment) -> None:
    """With the extra, `demo` starts; `init`, `check`, `sandbox`, `serve`, `token` and a submit work."""
    environment.install("wheel[sandbox]")
    with environment.running("demo", "--port", "0", "--json") as demo:
        assert demo.stdout is not None
        addresses = json.loads(demo.stdout.readline())
        assert answers(f"{addresses['url']}/healthz")

    assert environment.run("fal-proxy", "init", "--sandbox").returncode == 0
    assert "good" in environment.run("fal-proxy", "check").stdout
    first, port = adjacent_ports(4), free_port()
    config = environment.home / "fal-proxy.toml"
    for offset in range(3):  # the ports of `fal-proxy sandbox`, which another program may have
        config.write_text(config.read_text().replace(f":{9000 + offset}", f":{first + offset}"))
    token = environment.run("fal-proxy", "token", "--subject", "me").stdout.strip()
    with (
        environment.running("sandbox", "--port", str(first)),
        environment.running("serve", "--port", str(port)),
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, trust_env=False) as caller,
    ):
        until(
            lambda: answers(f"{caller.base_url}/healthz") and answers(f"http://127.0.0.1:{first + 3}/counts"),
            3 * PATIENCE,
        )
        job = caller.post(
            "/api/fal/queue/fal-ai/hyper-sdxl/image-to-image",
            json={"image_url": "https://example.com/cat.png", "prompt": "a boat"},
            headers={"authorization": f"Bearer {token}"},
        )

    assert job.status_code == 200, job.text


def test_an_app_tests_itself_with_the_plugin(environment: Environment) -> None:
    """The example `fastapi`'s own tests pass with the installed wheel: pytest finds the plugin by itself."""
    environment.install("wheel[sandbox]", "pytest", "fastapi>=0.120")
    app = environment.home / "app"
    shutil.copytree(ROOT / "examples" / "fastapi", app, ignore=shutil.ignore_patterns("__pycache__", ".env"))
    done = environment.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(app), str(app))

    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout

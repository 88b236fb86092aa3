"""Contender that is the last release of the gateway: its own code, packages and configuration."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.processes import Server
from bench.rig import Rig
from bench.roster import Contender, gateway

ROOT = Path(__file__).parent.parent
FILE = Path(__file__).with_name("last_release.json")
CHECKOUT = Path(__file__).with_name(".last-release")  # not under version control
NAME = "last release"


@dataclass(frozen=True, slots=True)
class Release:
    """A *version*, and the *commit* whose speed stands for it."""

    version: str
    commit: str


def stored() -> Release:
    """Returns the release that later code is held against."""
    return Release(**json.loads(FILE.read_text(encoding="utf-8")))


def keep(version: str) -> Release:
    """Makes the commit that is checked out the one that later code is held against."""
    release = Release(version, _git("rev-parse", "HEAD"))
    FILE.write_text(json.dumps(asdict(release), indent=2) + "\n", encoding="utf-8")
    return release


def contender() -> Contender:
    """Returns the contender. Its first start installs the release beside this file."""

    def start(rig: Rig) -> Server:
        program, contenders = installed()
        return gateway("last-release", program=program, contenders=contenders)(rig)

    return Contender(NAME, start, handles=True, own_handles=True)


def installed() -> tuple[Path, Path]:
    """Returns the command of the last release and the folder of its configuration. Installs it first."""
    root = install(stored().commit)
    return root / ".venv/bin/fal-proxy", root / "bench/contenders"


def install(commit: str) -> Path:
    """Returns a checkout of *commit* with its locked packages. Raises RuntimeError in a clone without it."""
    stamp = CHECKOUT / ".commit"
    if stamp.exists() and stamp.read_text() == commit:
        return CHECKOUT
    shutil.rmtree(CHECKOUT, ignore_errors=True)
    CHECKOUT.mkdir()
    _git("cat-file", "-e", f"{commit}^{{commit}}")
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    subprocess.run(["tar", "-x"], cwd=CHECKOUT, input=archive, check=True)
    subprocess.run([sys.executable, "-m", "venv", ".venv"], cwd=CHECKOUT, check=True)
    pip = [".venv/bin/pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--require-hashes", "-r", "lock/runtime.txt"], cwd=CHECKOUT, check=True)
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "-e", "."], cwd=CHECKOUT, check=True)
    stamp.write_text(commit)
    return CHECKOUT


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"git {' '.join(arguments)}: {done.stderr.strip() or 'a whole clone is needed'}")
    return done.stdout.strip()

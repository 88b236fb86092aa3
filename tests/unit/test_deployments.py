"""Tests of the files in `deploy/` by the programs that read them, but for the front proxies."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import licences
import pytest
from support.gateway_process import program

from proxy.config.loader import load

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
TOOLS = ROOT / ".venv-deploy"
ENVIRON = {
    "FAL_KEY": "0b1c2d3e-0000-4000-8000-000000000000:" + "0123456789abcdef" * 2,
    "SESSION_SECRET": "session-" + "7c0e5d1b9a3f4826" * 3,
    "FAL_PROXY_HANDLE_SECRETS": "handle-" + "9f2b4c6d8e0a1357" * 3,
    "FAL_PROXY_REDIS_URL": "redis://127.0.0.1:6379/0",
}


def printed(*command: str | Path, status: int = 0) -> str:
    """Returns the output of *command* on both streams; it must end with *status*."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def compose() -> Path:
    """Runs Docker Compose itself; the package's own script always ends with status 0."""
    (found,) = TOOLS.glob("lib/python*/site-packages/compose/docker-compose")
    return found


def test_the_image_follows_the_rules_of_hadolint() -> None:
    """The Dockerfile has no finding."""
    assert printed(program("hadolint"), "Dockerfile") == ""


@pytest.mark.parametrize(("lock", "traces"), [("production", False), ("tracing", True)])
def test_the_image_installs_no_build_tool(lock: str, traces: bool) -> None:
    """The build sees the lock, with what the gateway needs, expressions, and traces where they are wanted."""
    locked = set(re.findall(r"^([\w.-]+)(?:\[\w+\])?==", (ROOT / f"lock/{lock}.txt").read_text(), re.MULTILINE))

    assert f"!lock/{lock}.txt" in (ROOT / ".dockerignore").read_text().splitlines()
    assert {"starlette", "cel-expr-python"} <= locked
    assert ("opentelemetry-sdk" in locked) is traces
    assert not locked & {"pillow", "hatchling", "editables", "pip", "setuptools", "pytest"}


@pytest.mark.parametrize("script", ["deploy/check-image", "deploy/install-test-servers", ".ci/run"])
def test_scripts_follow_the_rules_of_shellcheck(script: str) -> None:
    """A script has no finding."""
    assert printed(program("shellcheck"), script) == ""


@pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux")
def test_systemd_units(tmp_path: Path) -> None:
    """systemd reads the units without a word, and gives an exposure below 1.5."""
    for unit in ("fal-proxy.service", "fal-proxy.socket"):
        text = (DEPLOY / "systemd" / unit).read_text().replace("/opt/fal-auth-proxy/bin/fal-proxy", "/bin/true")
        (tmp_path / unit).write_text(text)
    analyze = program("systemd-analyze")

    assert printed(analyze, "verify", tmp_path / "fal-proxy.service", tmp_path / "fal-proxy.socket") == ""
    exposure = printed(analyze, "security", "--offline=true", tmp_path / "fal-proxy.service")
    assert float(re.search(r"Overall exposure level for .*: ([\d.]+)", exposure)[1]) < 1.5  # type: ignore[index]


def test_compose_file() -> None:
    """Docker Compose accepts the file and no wrong key; compose-lint finds nothing above medium."""
    file = DEPLOY / "compose/compose.yaml"
    printed(compose(), "-f", file, "config", "-q")

    assert "CL-" in printed(program("compose-lint"), file)


def test_compose_is_strict(tmp_path: Path) -> None:
    """The control: a wrong key is refused."""
    file = tmp_path / "compose.yaml"
    file.write_text("services: {a: {image: b, stop_grace: 130s}}\n")

    assert "stop_grace" in printed(compose(), "-f", file, "config", "-q", status=1)


def test_kubernetes_manifests(tmp_path: Path) -> None:
    """kustomize builds nine objects, and each is valid for its schema; one with an unknown field is not."""
    rendered = tmp_path / "all.yaml"
    text = printed(program("kubectl"), "kustomize", DEPLOY / "kubernetes")
    (deployment,) = [part for part in text.split("---\n") if "kind: Deployment\nmetadata" in part]
    rendered.write_text(text + "---\n" + deployment.replace("readinessProbe", "readynessProbe"))
    found = printed(program("kubernetes-validate"), "--strict", rendered, status=1)

    assert len(re.findall("passed for resource", found)) == 9
    assert "readynessProbe" in found


@pytest.mark.parametrize("file", ["compose/fal-proxy.toml", "kubernetes/config.toml"])
def test_configurations(file: str) -> None:
    """A shipped configuration has no problem."""
    assert load(DEPLOY / file, ENVIRON).problems == ()


@pytest.mark.parametrize("file", ["fly.toml", "railway.toml"])
def test_platform_files(file: str) -> None:
    """A platform's file is TOML and probes `/readyz`."""
    document = tomllib.loads((DEPLOY / "platforms" / file).read_text())

    assert "/readyz" in str(document)


def test_licences() -> None:
    """The list of licences is that of the lock, and none of them asks for the source of the gateway."""
    listed = licences.LIST.read_text(encoding="utf-8")
    stated = [row.split("|")[2].strip() for row in listed.splitlines() if row.startswith("| ")][1:]
    permissive = re.compile(r"(MIT|BSD|Apache|PSF|ISC|MPL)")

    assert listed == licences.table()
    assert [one for one in stated if not permissive.match(one)] == []


def test_workflows() -> None:
    """actionlint has no finding, and each action is pinned by a commit, but for one with its reason."""
    files = sorted((ROOT / ".github/workflows").glob("*.yml"))
    used = [line for file in files for line in re.findall(r"uses: (\S+)", file.read_text(encoding="utf-8"))]

    assert printed(program("node"), "tools/workflows/check.mjs", *files) == ""
    assert [one for one in used if not re.search(r"@[0-9a-f]{40}$", one)] == ["pypa/gh-action-pypi-publish@v1.12.4"]


def test_the_matrix_has_the_declared_versions() -> None:
    """The workflow runs on every Python that the package declares."""
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    declared = re.findall(r"Python :: (3\.\d+)'", str(classifiers))
    (matrix,) = re.findall(r"python: \[(.*)\]", (ROOT / ".github/workflows/ci.yml").read_text())

    assert set(declared) <= set(re.findall(r"3\.\d+", matrix))


SET_UPS = ("nginx", "caddy", "haproxy", "traefik", "systemd", "compose", "kubernetes", "platforms")


def test_each_set_up_has_a_readme() -> None:
    """A folder of `deploy/` has a README of at most 25 lines, and the list in `deploy/README.md` names it."""
    folders = [DEPLOY / name for name in SET_UPS]
    listed = (DEPLOY / "README.md").read_text()

    assert [f.name for f in folders if len((f / "README.md").read_text().splitlines()) > 25] == []
    assert [folder.name for folder in folders if f"`{folder.name}/`" not in listed] == []


GRACE = {
    "compose/compose.yaml": r"stop_grace_period: (\d+)s",
    "kubernetes/deployment.yaml": r"terminationGracePeriodSeconds: (\d+)",
    "platforms/fly.toml": r"kill_timeout = (\d+)",
    "platforms/railway.toml": r"drainingSeconds = (\d+)",
    "systemd/fal-proxy.service": r"TimeoutStopSec=(\d+)",
}


@pytest.mark.parametrize("file", GRACE)
def test_stop_grace(file: str) -> None:
    """The stop of each set-up waits longer than a run takes, which is paid for."""
    found = re.findall(GRACE[file], (DEPLOY / file).read_text())

    assert max(map(int, found)) >= 130

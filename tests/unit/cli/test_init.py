"""Tests of the command `init`: its files, and that they work as they are."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.cli.main import main

SECRETS = ("FAL_KEY", "SESSION_SECRET", "FAL_PROXY_HANDLE_SECRETS")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, and an environment without secrets."""
    monkeypatch.chdir(tmp_path)
    for name in (*SECRETS, "FAL_PROXY_CONFIG", "PORT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def fal_proxy(*args: str) -> Result:
    return CliRunner().invoke(main, args)


def test_the_sandbox_files_work_as_they_are(folder: Path) -> None:
    """After `init --sandbox` the file is valid, without any variable of the environment."""
    assert fal_proxy("init", "--sandbox").exit_code == 0

    checked = fal_proxy("check")

    assert (checked.exit_code, checked.stderr) == (0, "")
    assert fal_proxy("token", "--subject", "alice").exit_code == 0


def test_the_secrets_are_private(folder: Path) -> None:
    """Only the owner can read `.env`, git ignores it, and its secrets are new each time."""
    fal_proxy("init", "--sandbox")
    env_file = folder / ".env"
    first = env_file.read_text()
    (folder / "other").mkdir()
    fal_proxy("init", "--sandbox", "other/fal-proxy.toml")

    assert stat.S_IMODE(env_file.stat().st_mode) == 0o600
    assert ".env" in (folder / ".gitignore").read_text().splitlines()
    assert first != (folder / "other" / ".env").read_text()


def test_a_configuration_for_production_wants_a_key(folder: Path) -> None:
    """Without --sandbox the one problem left is the key of fal."""
    fal_proxy("init")

    checked = fal_proxy("check")

    assert [line.split(":")[0] for line in checked.stderr.splitlines()] == ["FAL_KEY", "1 problem(s)"]


def test_nothing_is_overwritten(folder: Path) -> None:
    """An existing configuration is an error, and no other file is written."""
    (folder / "fal-proxy.toml").write_text("mine")
    result = fal_proxy("init", "--sandbox")

    assert result.exit_code == 1
    assert "fal-proxy.toml exists already" in result.stderr
    assert [path.name for path in folder.iterdir()] == ["fal-proxy.toml"]


def test_a_second_configuration_uses_the_secrets_that_are_there(folder: Path) -> None:
    """The existing `.env` stays as it is, and both configurations are good."""
    fal_proxy("init", "--sandbox")
    before = (folder / ".env").read_bytes()
    second = fal_proxy("init", "--sandbox", "second.toml")

    assert second.stdout.startswith("wrote second.toml; .env exists already and was not changed\n")
    assert (folder / ".env").read_bytes() == before
    assert fal_proxy("check", "second.toml").exit_code == 0


def test_secrets_that_an_existing_file_lacks_are_named(folder: Path) -> None:
    """The message has the names, and a malformed file is an error before anything is written."""
    (folder / ".env").write_text("FAL_KEY=a:b\n")
    output = fal_proxy("init", "first.toml").stdout
    (folder / ".env").write_text("mine")
    malformed = fal_proxy("init", "second.toml")

    assert "it lacks SESSION_SECRET, FAL_PROXY_HANDLE_SECRETS" in output
    assert malformed.exit_code == 1
    assert not (folder / "second.toml").exists()


def test_rules_of_git_are_kept(folder: Path) -> None:
    """An existing .gitignore gets the missing rules only."""
    (folder / ".gitignore").write_text("*.log\n.env\n")
    fal_proxy("init")

    assert (folder / ".gitignore").read_text() == "*.log\n.env\nledger.db*\n"


def test_secrets_for_an_existing_configuration(folder: Path) -> None:
    """With --secrets-only the configuration stays as it is, and it works with the new `.env`."""
    fal_proxy("init", "--sandbox", "template.toml")
    (folder / ".env").unlink()
    (folder / "template.toml").rename(folder / "fal-proxy.toml")
    before = (folder / "fal-proxy.toml").read_bytes()

    assert fal_proxy("init", "--sandbox", "--secrets-only").exit_code == 0

    assert (folder / "fal-proxy.toml").read_bytes() == before
    assert fal_proxy("check").exit_code == 0

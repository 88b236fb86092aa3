"""Tests of the command group: its list, imports on use, and messages."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from proxy.cli import lazy_group
from proxy.cli.lazy_group import Command
from proxy.cli.main import COMMANDS, main


def test_help_imports_no_command() -> None:
    """The option --help imports neither a command nor the libraries of the gateway."""
    script = (
        "import sys; from proxy.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'pydantic', 'starlette', 'uvicorn', 'redis', 'proxy.app', 'proxy.config'} & set(sys.modules)))\n"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert printed.endswith("[]\n")
    assert all(name in printed for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_loads(name: str) -> None:
    """Each row of the table names a command of that name, with a docstring."""
    command = COMMANDS[name].load()

    assert command.name == name
    assert command.help


def test_an_unknown_command_gets_near_names() -> None:
    """A misspelt command ends with status 2 and the name that is near."""
    result = CliRunner().invoke(main, ["chek"])

    assert result.exit_code == 2
    assert "check" in result.stderr


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command whose extra is not installed names it, without a traceback."""

    def absent(name: str) -> object:
        raise ModuleNotFoundError("No module named 'PIL'", name="PIL")

    monkeypatch.setattr(lazy_group, "import_module", absent)
    result = CliRunner().invoke(main, ["demo"])

    assert result.exit_code == 1
    assert "pip install 'fal-auth-proxy[sandbox]'" in result.stderr


def test_a_missing_module_of_a_command_without_an_extra_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that is required is not reported as a missing extra."""

    def absent(name: str) -> object:
        raise ModuleNotFoundError("No module named 'x'", name="x")

    monkeypatch.setattr(lazy_group, "import_module", absent)

    with pytest.raises(ModuleNotFoundError):
        Command("proxy.cli.check:check", "").load()


def test_a_target_that_is_no_command_is_a_defect() -> None:
    """A wrong row of the table is reported by its target."""
    with pytest.raises(TypeError, match="lazy_group:click"):
        Command("proxy.cli.lazy_group:click", "").load()
    assert isinstance(COMMANDS["check"].load(), click.Command)

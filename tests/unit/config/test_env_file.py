"""Tests of the `.env` file beside the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.env_file import read_env_file
from proxy.errors import ConfigError


def test_variables_are_read(tmp_path: Path) -> None:
    """A line is a variable, with or without quotes and `export`; comments and empty lines are none."""
    (tmp_path / ".env").write_text("# secrets\n\nA=1\nexport B=\"two words\"\nC='#3'\nD=\nE=x=y\n")

    assert read_env_file(tmp_path) == {"A": "1", "B": "two words", "C": "#3", "D": "", "E": "x=y"}
    assert read_env_file(tmp_path / "none") == {}


def test_other_lines_are_problems_without_their_text(tmp_path: Path) -> None:
    """Each bad line is reported by its number, since it may hold a secret."""
    (tmp_path / ".env").write_text("A=1\nhunter2\nB: 2\n")

    with pytest.raises(ConfigError) as caught:
        read_env_file(tmp_path)

    assert [problem.key.rpartition(":")[2] for problem in caught.value.problems] == ["2", "3"]
    assert "hunter2" not in str(caught.value)

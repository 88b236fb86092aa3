from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "testing.md"
CONFIGURATION = '[server]\npublic_origin = "https://app.example.com"\n[[endpoints]]\nid = "fal-ai/flux/dev"\n'
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_examples_of_the_page_pass(tmp_path: Path) -> None:
    """Each block of docs/testing.md is a test module that passes, under the plugin alone."""
    (tmp_path / "fal-proxy.toml").write_text(CONFIGURATION)
    for number, block in enumerate(BLOCKS):
        (tmp_path / f"test_block_{number}.py").write_text(block)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "proxy.testing.plugin", "-p", "no:cacheprovider", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)

    assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("5 passed")

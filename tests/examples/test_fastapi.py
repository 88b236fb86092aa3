"""The example `fastapi`: its own tests, as its README starts them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples/fastapi"


def test_its_own_tests_pass() -> None:
    """All of them pass, with the fixtures that the package brings and nothing of this folder."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=EXAMPLE, capture_output=True, text=True, timeout=180, check=False)

    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout

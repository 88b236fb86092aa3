"""The example `fastapi`: its own tests, as its README starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples/fastapi"


def test_its_own_tests_pass() -> None:
    """All of them pass, with the fixtures that the package brings and nothing of this folder."""
    # The other plugins of this environment would take most of the time.
    environ = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "proxy.testing.plugin"]
    done = subprocess.run(command, cwd=EXAMPLE, env=environ, capture_output=True, text=True, timeout=180, check=False)

    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout

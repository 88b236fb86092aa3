from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.gateway_process import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Real servers for one test. A module that shares its servers opens a Rig of its own."""
    with Rig(tmp_path) as running:
        yield running

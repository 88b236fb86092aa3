from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from support.browser import chromium
from support.gateway_process import Rig


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium for a module.

    Not for the session: while Playwright runs, its event loop is this thread's, and no async test could run.
    """
    with chromium() as running:
        yield running


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Rig(tmp_path) as running:
        yield running

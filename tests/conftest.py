"""Order and grouping of all tests, so that `make test` can run files in parallel."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

HERE = Path(__file__).parent
# The slow folders first: a long file that starts last would run alone.
ORDER = ("browser", "live", "examples", "clients", "fuzz", "unit")

# One example may take long on a busy machine. All else is as in the profile that hypothesis chose.
settings.register_profile("busy", settings.default, deadline=None)
settings.load_profile("busy")


class ModuleScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Scheduler that keeps a module in one worker, and all modules with Chromium in one.

    The marker `xdist_group` does not work with pytest 9.2: xdist 3.8 changes an attribute that is no longer read.
    """

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return "browser" if module.startswith("tests/browser/") else module


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ModuleScheduling:
    """Replaces the scheduler of `--dist`."""
    return ModuleScheduling(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts slow folders first."""
    items.sort(key=lambda item: ORDER.index(item.path.relative_to(HERE).parts[0]))

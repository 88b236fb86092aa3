"""Order and grouping of all tests, so that `make test` can run files in parallel."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
# The slow folders first: a long file that starts last would run alone.
ORDER = ("browser", "live", "clients", "unit")
# Modules that assert bounds of wall-clock time below a second; another worker on the same core breaks them.
SERIAL = frozenset(
    {
        "live/test_money_outage.py",
        "live/test_nginx.py",
        "live/test_redis_limits.py",
        "live/test_runs.py",
        "live/test_streams.py",
        "unit/app/process/test_supervisor.py",
        "unit/billing/ledger/redis/test_ledger.py",
        "unit/http/client/test_stock_tls.py",
        "unit/http/server/test_connection.py",
        "unit/http/server/test_server.py",
        "unit/storage/test_redis_client.py",
        "unit/storage/test_redis_topology.py",
        "unit/telemetry/test_json_log.py",
        "unit/webhooks/test_sender.py",
    }
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks serial modules, and keeps each module in one worker; Chromium is in one worker at a time."""
    for item in items:
        name = item.path.relative_to(HERE).as_posix()
        if name in SERIAL:
            item.add_marker("serial")
        item.add_marker(pytest.mark.xdist_group("browser" if name.startswith("browser/") else name))
    items.sort(key=lambda item: ORDER.index(item.path.relative_to(HERE).parts[0]))

from __future__ import annotations

from pathlib import Path

from proxy.app.operator_page.reload_status import ReloadStatus, read_status, write_status


def test_reloads_are_left_for_the_workers(tmp_path: Path) -> None:
    """The last result is read from the folder."""
    first = read_status(str(tmp_path))
    status = first.applied(1.0).applied(2.0).refused(3.0, "server.port: must be a number")
    write_status(str(tmp_path), status)

    assert first == ReloadStatus(generation=1, result="none")
    assert read_status(str(tmp_path)) == status
    assert (status.generation, status.refusals, status.result, status.at) == (3, 1, "refused", 3.0)
    assert status.reason == "server.port: must be a number"
    assert status.applied(4.0).reason is None

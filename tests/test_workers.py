from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import os, sys, time
from pathlib import Path
from proxy.workers import supervise

folder = Path(sys.argv[1])

def work(index):
    (folder / f"{index}-{os.getpid()}").touch()
    if index == 0 and len(list(folder.glob("0-*"))) == 1:
        sys.exit(3)
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        pass

supervise(2, work, report=lambda index, code: (folder / f"report-{index}-{code}").touch())
(folder / "end").touch()
"""


def wait_for(folder: Path, pattern: str, count: int) -> list[Path]:
    deadline = time.monotonic() + 20
    while len(found := sorted(folder.glob(pattern))) < count:
        assert time.monotonic() < deadline, f"{pattern}: {found}"
        time.sleep(0.02)
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_workers_are_kept_alive_and_stopped(tmp_path: Path, number: signal.Signals) -> None:
    """One that ends or is killed is started again and reported, its error is printed; a stop ends them all."""
    with (tmp_path / "stderr").open("wb") as stderr:
        program = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], stderr=stderr)
    wait_for(tmp_path, "0-*", 2)
    wait_for(tmp_path, "report-0-1", 1)
    [first] = wait_for(tmp_path, "1-*", 1)
    os.kill(int(first.name[2:]), signal.SIGKILL)
    pids = [int(path.name[2:]) for path in wait_for(tmp_path, "1-*", 2)]
    wait_for(tmp_path, "report-1--9", 1)
    program.send_signal(number)

    assert program.wait(20) == 0
    assert (tmp_path / "end").exists()
    assert "SystemExit: 3" in (tmp_path / "stderr").read_text()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

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
from proxy.http.server.supervisor import supervise

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


ORPHANED = """
import os, signal, sys, time
from pathlib import Path
from proxy.http.server.supervisor import supervise

def work(index):
    (Path(sys.argv[1]) / f"{index}-{os.getpid()}").touch()
    time.sleep(60)

supervise(2, work, report=lambda index, code: None)
"""


def test_workers_end_with_their_supervisor(tmp_path: Path) -> None:
    """Killed so that it can tell nobody, it leaves none behind; one started late ends as well."""
    program = subprocess.Popen([sys.executable, "-c", ORPHANED, str(tmp_path)])
    [first] = wait_for(tmp_path, "0-*", 1)
    os.kill(int(first.name[2:]), signal.SIGKILL)
    pids = {int(path.name[2:]) for path in [*wait_for(tmp_path, "0-*", 2), *wait_for(tmp_path, "1-*", 1)]}
    program.kill()
    program.wait(20)

    deadline = time.monotonic() + 20
    while any(lives(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def lives(pid: int) -> bool:
    """Whether there is such a process that is more than a name: nobody here waits for an orphan."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
    return "State:\tZ" not in status


HOPELESS = """
import os, sys, time
from pathlib import Path
from proxy.http.server import supervisor as workers

workers.RESTART_PAUSE = 0.01
folder, good = Path(sys.argv[1]), sys.argv[2]

def work(index):
    if str(index) == good:
        (folder / "good").touch()
        time.sleep(60)
    sys.exit(3)

def report(index, code):
    (folder / f"report-{index}-{len(list(folder.glob(f'report-{index}-*')))}").touch()

workers.supervise(2, work, report=report)
"""


def test_workers_that_never_start_are_given_up(tmp_path: Path) -> None:
    """After five early deaths of each of them the whole ends, and says so."""
    done = subprocess.run(
        [sys.executable, "-c", HOPELESS, str(tmp_path), "none"], capture_output=True, text=True, timeout=60, check=False
    )
    reports = [len(list(tmp_path.glob(f"report-{index}-*"))) for index in (0, 1)]

    assert done.returncode == 1
    assert "ConfigError: workers: none starts: each died 5 times within 10 s" in done.stderr
    assert min(reports) == 5


def test_one_that_works_is_worth_going_on(tmp_path: Path) -> None:
    """The other is started again and again; a stop still ends it all in good order."""
    program = subprocess.Popen(
        [sys.executable, "-c", HOPELESS, str(tmp_path), "1"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    wait_for(tmp_path, "good", 1)
    wait_for(tmp_path, "report-0-*", 8)
    program.terminate()

    assert program.wait(20) == 0
    assert not list(tmp_path.glob("report-1-*"))

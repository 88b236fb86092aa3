"""Processes under measurement: started on given cores, read through /proc, stopped by their own ids."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

CONTENDER_CORE = 0
OTHER_CORE = 1  # load, upstream, store and this process
START_TIME = 60.0  # seconds
STOP_TIME = 5.0
_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")  # ns


@dataclass(frozen=True, slots=True)
class Cpu:
    """User + system time in ns: *scheduled* of all live threads, *ticked* from the kernel's coarser count."""

    scheduled: int
    ticked: int

    def __sub__(self, earlier: Self) -> Cpu:
        return Cpu(self.scheduled - earlier.scheduled, self.ticked - earlier.ticked)


class Server:
    """A process with all its descendants. What it prints is appended to *log*."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        port: int,
        log: Path,
        cores: Collection[int] = (CONTENDER_CORE,),
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Returns once *port* takes connections. Raises RuntimeError with the log's end where it never does."""
        self.port = port
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=cwd,
                env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **(environ or {})},
                preexec_fn=lambda: os.sched_setaffinity(0, cores),
            )
        self._wait_for_port()

    def _wait_for_port(self) -> None:
        deadline = time.monotonic() + START_TIME
        while time.monotonic() < deadline and self._process.poll() is None:
            if listens(self.port):
                return
            time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"{self.log.stem} did not start: {self.log.read_text(errors='replace')[-2000:]}")

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu(self) -> Cpu:
        pids = tree(self._process.pid)
        return Cpu(sum(map(_scheduled, pids)), sum(map(_ticked, pids)))

    def resident(self) -> float:
        """Returns MB now, summed over the tree: a page that two processes share counts twice."""
        return sum(_status(pid, "VmRSS") for pid in tree(self._process.pid))

    def peak(self) -> float:
        """Returns MB at each process's own highest (VmHWM, since its start), summed over the tree."""
        return sum(_status(pid, "VmHWM") for pid in tree(self._process.pid))

    def pin(self, cores: Collection[int]) -> None:
        for pid in tree(self._process.pid):
            for task in _listing(Path(f"/proc/{pid}/task")):
                os.sched_setaffinity(int(task.name), cores)

    def empty_log(self) -> None:
        os.truncate(self.log, 0)  # it is written to in append mode, so nothing is left of the hole

    def stop(self) -> None:
        pids = tree(self._process.pid)
        self._process.terminate()
        try:
            self._process.wait(STOP_TIME)
        except subprocess.TimeoutExpired:
            for pid in pids:
                _kill(pid)
            self._process.wait()


def tree(pid: int) -> list[int]:
    """Returns *pid* and its descendants."""
    pids = [pid]
    for parent in pids:  # grows while it is walked
        for task in _listing(Path(f"/proc/{parent}/task")):
            pids += map(int, _read(task / "children").split())
    return pids


def busy(core: int) -> tuple[int, int]:
    """Returns the busy time of *core* and the time stolen by the hypervisor, in ns."""
    line = next(line for line in _read(Path("/proc/stat")).splitlines() if line.startswith(f"cpu{core} "))
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, line.split()[1:9])
    return (user + nice + system + irq + softirq) * _TICK, steal * _TICK


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _scheduled(pid: int) -> int:
    return sum(int((_read(task / "schedstat") or "0").split()[0]) for task in _listing(Path(f"/proc/{pid}/task")))


def _ticked(pid: int) -> int:
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK if fields else 0


def _status(pid: int, name: str) -> float:
    lines = dict(line.split(":", 1) for line in _read(Path(f"/proc/{pid}/status")).splitlines())
    return int(lines.get(name, "0 kB").split()[0]) / 1024


def _listing(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:  # it has ended meanwhile
        return []


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)

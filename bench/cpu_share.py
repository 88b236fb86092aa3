"""Share of a CPU for processes: a control group, of version 1 or 2."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

_PERIOD = 100_000  # us
_MOST_SHARES, _MOST_WEIGHT = 262_144, 10_000  # by the documentation of the kernel
_GROUP_NUMBERS = count()
_GROUPS = Path("/sys/fs/cgroup")


@contextmanager
def cpu_share(cores: float, pids: Iterable[int]) -> Iterator[None]:
    """Limits *pids* and their threads to *cores* of CPU together, which other programs leave to them.

    Raises RuntimeError where no control group can be made, which needs root and a writable /sys/fs/cgroup.
    """
    parent = _GROUPS / "cpu" if (_GROUPS / "cpu").is_dir() else _GROUPS
    group = parent / f"fal-proxy-bench-{os.getpid()}-{next(_GROUP_NUMBERS)}"
    try:
        group.mkdir()
        quota = int(cores * _PERIOD)
        if (group / "cpu.cfs_quota_us").exists():
            (group / "cpu.cfs_period_us").write_text(str(_PERIOD))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
            (group / "cpu.shares").write_text(str(_MOST_SHARES))
        else:
            (group / "cpu.max").write_text(f"{quota} {_PERIOD}")
            (group / "cpu.weight").write_text(str(_MOST_WEIGHT))
        for pid in pids:
            (group / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        with suppress(OSError):
            group.rmdir()
        raise RuntimeError(f"no control group for the CPU: {error}") from error
    try:
        yield
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            with suppress(OSError):
                (parent / "cgroup.procs").write_text(pid)
        group.rmdir()

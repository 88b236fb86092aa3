"""Metrics of the process and its build, under the names that Prometheus has for them."""

from __future__ import annotations

import gc
import os
import platform
import resource
import time
from pathlib import Path

from proxy import __version__
from proxy.telemetry.families import Family, Merge

_STARTED = time.time()
_PAGE = resource.getpagesize()
_STATM = Path("/proc/self/statm")  # Linux alone; elsewhere the peak is used, as getrusage(2) gives it
_FDS = Path("/proc/self/fd")
_KIB = 1024


def process_families() -> list[Family]:
    """Returns the metrics of this process: of several workers, sums, but the start of the youngest."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    build = {
        "version": __version__,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
    }
    families = [
        Family(
            "fal_proxy_build_info",
            "gauge",
            "Version of the gateway and of Python.",
            (("", build, 1),),
            "max",
            tuple(build),
        ),
        _gauge("fal_proxy_workers", "Workers that answered this scrape.", 1),
        Family(
            "process_cpu_seconds",
            "counter",
            "CPU time of all workers.",
            (("_total", {}, usage.ru_utime + usage.ru_stime),),
        ),
        _gauge("process_resident_memory_bytes", "Resident memory of all workers.", _resident(usage.ru_maxrss * _KIB)),
        _gauge("process_start_time_seconds", "Start of the youngest worker, unix time.", _STARTED, "max"),
        _gauge(
            "process_max_fds", "Files that one worker may open.", resource.getrlimit(resource.RLIMIT_NOFILE)[0], "max"
        ),
        Family(
            "python_gc_collections",
            "counter",
            "Runs of the garbage collector by generation.",
            tuple(
                ("_total", {"generation": str(number)}, stats["collections"])
                for number, stats in enumerate(gc.get_stats())
            ),
            labels=("generation",),
        ),
    ]
    if _FDS.exists():
        families.append(_gauge("process_open_fds", "Files that all workers have open.", len(os.listdir(_FDS))))
    return families


def _resident(peak: int) -> int:
    try:
        return int(_STATM.read_text().split()[1]) * _PAGE
    except OSError:
        return peak


def _gauge(name: str, documentation: str, value: float, merge: Merge = "sum") -> Family:
    return Family(name, "gauge", documentation, (("", {}, value),), merge)

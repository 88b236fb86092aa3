"""Several worker processes on one listening socket, kept alive until told to stop."""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable

# A worker that dies at once is not started again faster than this (seconds).
RESTART_PAUSE = 1.0
_STOP = frozenset({signal.SIGTERM, signal.SIGINT})
_WATCHED = _STOP | {signal.SIGCHLD}


def supervise(count: int, work: Callable[[int], None], *, report: Callable[[int, int], None]) -> None:
    """Runs *work*(index) in *count* processes and returns when all have ended after SIGTERM or SIGINT.

    One that ends by itself is started anew; *report* is told its index and exit code (negative: the signal). To be
    called before any thread or event loop exists: the workers are forks.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    started: dict[int, float] = {}
    children = {_fork(index, work, started): index for index in range(count)}
    stopping = False
    while children:
        caught = signal.sigtimedwait(_WATCHED, RESTART_PAUSE)
        if caught is not None and caught.si_signo in _STOP:
            stopping = True
            for child in children:
                os.kill(child, signal.SIGTERM)
        for child, code in _ended():
            index = children.pop(child)
            if not stopping:
                report(index, code)
                time.sleep(max(0.0, started[index] + RESTART_PAUSE - time.monotonic()))
                children[_fork(index, work, started)] = index


def _fork(index: int, work: Callable[[int], None], started: dict[int, float]) -> int:
    started[index] = time.monotonic()
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
        code = 1
        try:
            work(index)
            code = 0
        finally:
            if code:
                traceback.print_exc()  # leaving by os._exit tells nobody why
            os._exit(code)
    return child


def _ended() -> list[tuple[int, int]]:
    ended: list[tuple[int, int]] = []
    while True:
        try:
            child, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if child == 0:
            return ended
        ended.append((child, os.waitstatus_to_exitcode(status)))

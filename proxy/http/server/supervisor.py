"""Several worker processes on one listening socket, kept alive until told to stop."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress

from proxy.errors import ConfigError, Problem

# A worker that dies at once is not started again faster than this (seconds).
RESTART_PAUSE = 1.0
# Seconds after which a worker has started well; each that did not, TRIES times in a row, means that none ever will.
SETTLED = 10.0
TRIES = 5
_STOP = frozenset({signal.SIGTERM, signal.SIGINT})
_WATCHED = _STOP | {signal.SIGCHLD}


def supervise(count: int, work: Callable[[int], None], *, report: Callable[[int, int], None]) -> None:
    """Runs *work*(index) in *count* processes and returns when all have ended after SIGTERM or SIGINT.

    One that ends by itself is started anew; *report* is told its index and exit code (negative: the signal). They end
    with this process, however it ends. Raises ConfigError where none of them gets to work. To be called before any
    thread or event loop exists: the workers are forks.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    crew = _Crew(count, work)
    failed = stopping = False
    while crew.children:
        caught = signal.sigtimedwait(_WATCHED, RESTART_PAUSE)
        if caught is not None and caught.si_signo in _STOP:
            stopping = True
            crew.stop()
        for child, code in _ended():
            index = crew.buried(child)
            if stopping:
                continue
            report(index, code)
            failed = stopping = crew.is_hopeless()
            if failed:
                crew.stop()
            else:
                crew.replace(index)
    if failed:
        raise ConfigError([Problem("workers", f"none starts: each died {TRIES} times within {SETTLED:g} s")])


class _Crew:
    """*children* are the indexes of those that live, by process id."""

    def __init__(self, count: int, work: Callable[[int], None]) -> None:
        self._work = work
        # Nobody ever writes into it: its end is the end of the process that holds the other side.
        self._lifeline = os.pipe()
        self._started: dict[int, float] = {}
        self._died_early = dict.fromkeys(range(count), 0)
        self.children: dict[int, int] = {}
        for index in range(count):
            self._start(index)

    def buried(self, child: int) -> int:
        """The index of one that has ended."""
        index = self.children.pop(child)
        early = time.monotonic() < self._started[index] + SETTLED
        self._died_early[index] = self._died_early[index] + 1 if early else 0
        return index

    def is_hopeless(self) -> bool:
        return min(self._died_early.values()) >= TRIES

    def replace(self, index: int) -> None:
        time.sleep(max(0.0, self._started[index] + RESTART_PAUSE - time.monotonic()))
        self._start(index)

    def stop(self) -> None:
        for child in self.children:
            with suppress(ProcessLookupError):  # it has ended, and was waited for, but is not buried yet
                os.kill(child, signal.SIGTERM)

    def _start(self, index: int) -> None:
        self._started[index] = time.monotonic()
        child = os.fork()
        if child == 0:
            self._live(index)
        self.children[child] = index

    def _live(self, index: int) -> None:
        """All of a worker's life; does not return."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
        code = 1
        try:
            _end_with_parent(*self._lifeline)
            self._work(index)
            code = 0
        finally:
            if code:
                traceback.print_exc()  # leaving by os._exit tells nobody why
            os._exit(code)


def _end_with_parent(reader: int, writer: int) -> None:
    """A parent killed with SIGKILL tells nobody, and its workers would hold the port for good."""
    os.close(writer)

    def watch() -> None:
        os.read(reader, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


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

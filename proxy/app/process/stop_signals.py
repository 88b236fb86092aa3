"""Signals of a serving process: the first SIGTERM or SIGINT drains it, the second one ends it at once."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from proxy.app.process.gateway_process import GatewayProcess

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Stands before the handlers of the uvicorn server, which stop accepting at once.

    In a worker the supervisor decides: SIGINT, which a terminal sends to all processes, is ignored there, and so is a
    second SIGTERM.
    """

    def __init__(self, process: GatewayProcess) -> None:
        self._process = process
        self._is_worker = multiprocessing.parent_process() is not None
        self._received = False

    def install(self) -> None:
        """Replaces the handlers. To be called in the main thread while the server runs."""
        self._loop = asyncio.get_running_loop()
        if threading.current_thread() is not threading.main_thread():
            return
        self._server_handlers = {number: signal.getsignal(number) for number in SIGNALS}
        signal.signal(signal.SIGTERM, self._receive)
        signal.signal(signal.SIGINT, signal.SIG_IGN if self._is_worker else self._receive)
        if self._is_worker:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal that closes sends it to all processes
        self._end_with_parent()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if not self._received:
            self._received = True
            self._loop.call_soon_threadsafe(self._drain, number)
        elif not self._is_worker:
            self._process.journal.write({"event": "killed"})
            self._process.journal.close(0.2)
            os._exit(128 + number)

    def _drain(self, number: int) -> None:
        self._process.drain()
        self._loop.call_later(self._process.drain_seconds, self._stop_server, number)

    def _stop_server(self, number: int) -> None:
        handler = self._server_handlers[signal.Signals(number)]
        if callable(handler):
            handler(number, None)

    def _end_with_parent(self) -> None:
        """Stops a worker whose supervisor was killed: it would hold the port for good."""
        parent = multiprocessing.parent_process()
        if parent is None:
            return

        def stop() -> None:
            self._loop.remove_reader(parent.sentinel)
            os.kill(os.getpid(), signal.SIGTERM)

        self._loop.add_reader(parent.sentinel, stop)


@contextmanager
def ignored_after_stop() -> Iterator[None]:
    """Ends a process with status 0 after a signal, which uvicorn raises again when it has stopped."""
    previous = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

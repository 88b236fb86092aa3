"""SIGHUP of a single process: reads the configuration again and swaps it in place."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable

from proxy.app.application import Application
from proxy.app.setup.components import build_components
from proxy.config.loader import Config
from proxy.errors import ConfigError
from proxy.telemetry.json_log import JsonLogWriter


class ReloadSignal:
    """Reloads *application* on SIGHUP.

    *load* reads the configuration; a bad one changes nothing but the journal.
    """

    def __init__(self, application: Application, journal: JsonLogWriter, load: Callable[[], Config]) -> None:
        self._application = application
        self._journal = journal
        self._load = load
        self._requested = asyncio.Event()

    def install(self) -> None:
        """Replaces the handler. To be called in the main thread while the event loop runs."""
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._reload_on_request())
        signal.signal(signal.SIGHUP, lambda *_: loop.call_soon_threadsafe(self._requested.set))

    async def _reload_on_request(self) -> None:
        """Reloads once at a time; requests during a reload make one more."""
        while True:
            await self._requested.wait()
            self._requested.clear()
            await self._reload()

    async def _reload(self) -> None:
        status = self._application.reload_status
        try:
            # Schemas and prices take longer to compile than a request may wait.
            components = await asyncio.to_thread(lambda: build_components(self._load()))
            self._application.reload(components)
        except (ConfigError, OSError) as error:
            self._application.record_reload(status.refused(time.time(), str(error)))
            self._journal.write({"event": "reload_failed", "reason": str(error)})
        else:
            self._application.record_reload(status.applied(time.time()))
            self._journal.write({"event": "reloaded"})

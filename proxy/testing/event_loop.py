"""Event loop on a thread of its own, so that a test may block, or have an event loop too."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar

import uvloop

T = TypeVar("T")

_START_SECONDS = 30.0  # a server that does not start or stop in this time is a defect


class EventLoopThread:
    """A running event loop. Its methods are called from other threads."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fal-proxy-testing", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[None, None, T]) -> T:
        """Runs *coroutine* in the loop and returns its result. Raises its exception."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_START_SECONDS)

    @contextmanager
    def entered(self, manager: AbstractAsyncContextManager[T]) -> Iterator[T]:
        """Enters *manager* in the loop, and leaves it there at the end."""
        value = self.run(_enter(manager))
        try:
            yield value
        finally:
            self.run(_leave(manager))

    def close(self) -> None:
        """Stops the loop and joins its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextmanager
def event_loop_thread() -> Iterator[EventLoopThread]:
    """Runs an event loop on a thread of its own, and closes it at the end."""
    thread = EventLoopThread()
    try:
        yield thread
    finally:
        thread.close()


async def _enter(manager: AbstractAsyncContextManager[T]) -> T:
    return await manager.__aenter__()


async def _leave(manager: AbstractAsyncContextManager[T]) -> None:
    await manager.__aexit__(None, None, None)

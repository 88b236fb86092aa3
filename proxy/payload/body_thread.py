"""Thread for large request bodies, so that other requests go on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

LARGE = 32 * 1024  # bytes of a body; below it the event loop is stopped for some milliseconds at most


class BodyThread:
    """One thread, which works at one body at a time.

    The interpreter lock is shared, so two threads would not be faster, and each body takes several times its size.
    """

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None

    async def run(self, work: Callable[[], T]) -> T:
        """Returns the result of *work*."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bodies")
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def close(self) -> None:
        """Ends the thread after the body that it works at."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False)

"""Thread for large request bodies, so that other requests go on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event
from typing import TypeAlias, TypeVar

T = TypeVar("T")

# Work that yields between its steps, and returns its result.
Steps: TypeAlias = Generator[None, None, T]

LARGE = 32 * 1024  # bytes of a body; below it the event loop is stopped for some milliseconds at most
_LONGEST_TURN = 1.0  # seconds; an event loop that has ended gives no answer


class BodyThread:
    """One thread, which works at one body at a time.

    The interpreter lock is shared, so two threads would not be faster. Each body takes several times its size.
    After each step the event loop has a turn. Without them each of its callbacks would wait for a call in C.
    With many bodies to read it would be late by their number.
    """

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None

    async def run(self, work: Steps[T]) -> T:
        """Returns the result of *work*."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bodies")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, finish, work, partial(_wait_for_turn, loop))

    def close(self) -> None:
        """Ends the thread after the body that it works at."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False)


def finish(steps: Steps[T], between: Callable[[], object]) -> T:
    """Returns the result of *steps*. Calls *between* after each one but the last."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        between()


def _wait_for_turn(loop: asyncio.AbstractEventLoop) -> None:
    """Waits until *loop* has gone round once."""
    turn = Event()
    loop.call_soon_threadsafe(turn.set)
    turn.wait(_LONGEST_TURN)

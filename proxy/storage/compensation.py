"""Undo queue for writes to a store whose reply was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from proxy.errors import StoreAway

Undo = Callable[[], Awaitable[object]]

CONCURRENCY = 50  # undos that run at once


class PendingUndo:
    """Undos that wait until the store answers again, the last one of each name.

    At most *capacity* names are kept. A write without a place expires in the store by its TTL.
    """

    def __init__(self, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._undos: dict[str, Undo] = {}
        self._running: set[str] = set()
        self._flush: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._undos)

    def add(self, name: str, undo: Undo) -> None:
        if len(self._undos) < self._capacity:
            self._undos[name] = undo

    def cancel(self, name: str) -> bool:
        """Drops the undo of *name*, because the same write is made again; returns whether there was one.

        Raises StoreAway while that undo runs.
        """
        if name in self._running:
            raise StoreAway(reason="the undo of an earlier attempt is running")
        return self._undos.pop(name, None) is not None

    def flush(self) -> None:
        """Starts a task that runs the undos. The caller has just seen that the store answers."""
        if self._undos and self._flush is None:
            self._flush = asyncio.create_task(self._run_all())

    async def aclose(self) -> None:
        if self._flush is not None:
            await self._flush

    async def _run_all(self) -> None:
        try:
            with suppress(StoreAway):  # The undos that remain run at the next flush.
                while self._undos:
                    await self._run_some()
        finally:
            self._flush = None

    async def _run_some(self) -> None:
        """Runs up to CONCURRENCY undos at once. Raises StoreAway if one fails; the failed ones remain."""
        names = list(self._undos)[:CONCURRENCY]
        self._running.update(names)
        try:
            results = await asyncio.gather(*(self._undos[name]() for name in names), return_exceptions=True)
        finally:
            self._running.difference_update(names)
        for name, result in zip(names, results, strict=True):
            if not isinstance(result, BaseException):
                self._undos.pop(name, None)
        if failures := [result for result in results if isinstance(result, BaseException)]:
            raise failures[0]

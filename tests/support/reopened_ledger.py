"""Ledger in a file that is closed and opened again before every step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from proxy.billing.ledger.sqlite_ledger import SqliteLedger


@asynccontextmanager
async def opened(
    path: Path, *, now: float, timeout: float = 30.0, worker: str | None = None
) -> AsyncIterator[SqliteLedger]:
    """Yields a started ledger; its timeout is one that a busy machine does not reach."""
    ledger = SqliteLedger(str(path), timeout=timeout, lock_seconds=10, worker=worker)
    await ledger.start(now=now)
    try:
        yield ledger
    finally:
        await ledger.aclose()


class ReopenedLedger:
    """A ledger that is opened again for each step, under one worker name, so that claims stay alive."""

    def __init__(self, path: Path, *, now: float) -> None:
        self._path = path
        self._now = now
        self._lock = asyncio.Lock()

    def __getattr__(self, name: str) -> Callable[..., Awaitable[object]]:
        async def step(*args: object, **options: object) -> object:
            async with self._lock, opened(self._path, now=self._now, worker="reopened") as ledger:
                result: object = await getattr(ledger, name)(*args, **options)
                return result

        return step

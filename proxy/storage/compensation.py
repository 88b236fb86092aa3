"""What may have been taken from a store whose answer never came: nobody has it, so it is given back later."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from proxy.errors import StoreAway

GiveBack = Callable[[], Awaitable[None]]


class Doubts:
    """Of each name the last doubt, and *capacity* names: what finds no room is left for the store to forget."""

    def __init__(self, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._doubts: dict[str, GiveBack] = {}
        self._under_way: str | None = None
        self._settling: asyncio.Task[None] | None = None

    def add(self, name: str, give_back: GiveBack) -> None:
        if len(self._doubts) < self._capacity:
            self._doubts[name] = give_back

    def withdraw(self, name: str) -> None:
        """Somebody asks for it again, and may keep it. Raises StoreAway while it is being given back."""
        if name == self._under_way:
            raise StoreAway(reason="an earlier attempt at this is being taken back")
        self._doubts.pop(name, None)

    def settle(self) -> None:
        """The store answers: a good moment to give back, aside from whoever calls."""
        if self._doubts and self._settling is None:
            self._settling = asyncio.create_task(self._settle())

    async def aclose(self) -> None:
        if self._settling is not None:
            await self._settling

    async def _settle(self) -> None:
        try:
            while self._doubts:
                self._under_way, give_back = next(iter(self._doubts.items()))
                await give_back()
                del self._doubts[self._under_way]
        except StoreAway:
            pass  # it is away again, the doubts remain
        finally:
            self._under_way = self._settling = None

"""Readiness of one process: what `/readyz` answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from proxy.errors import StoreAway


class Pingable(Protocol):
    """A store that can be asked for a sign of life."""

    async def ping(self) -> None:
        """Raises StoreAway where no answer comes in time."""


class Readiness:
    """Checks the stores of one process. Set *draining* to turn `/readyz` red.

    *upstream_state* returns the state of fal, which is reported and does not count: an unreachable fal would remove
    every replica from service at once.
    """

    def __init__(self, stores: tuple[Pingable, ...], upstream_state: Callable[[], str]) -> None:
        self._stores = stores
        self._upstream_state = upstream_state
        self.draining = False

    async def check(self) -> tuple[bool, Mapping[str, str]]:
        """Returns the verdict, and the state of each dependency for the body of the answer."""
        store = await self.stores_answer()
        return store and not self.draining, {
            "serving": "draining" if self.draining else "ok",
            "store": "ok" if store else "not answering",
            "upstream": self._upstream_state(),
        }

    async def stores_answer(self) -> bool:
        try:
            for store in self._stores:
                await store.ping()
        except StoreAway:
            return False
        return True

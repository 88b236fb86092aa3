"""Readiness of one process: what `/readyz` answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from proxy.circuit_breaker import Breaker
from proxy.errors import StoreAway


class Pingable(Protocol):
    """A store that can be asked for a sign of life."""

    async def ping(self) -> None:
        """Raises StoreAway where no answer comes in time."""


class Readiness:
    """Checks the stores of one process. Set *draining* to turn `/readyz` red.

    An unreachable fal is reported and does not count: it would remove every replica from service at once.
    """

    def __init__(self, stores: tuple[Pingable, ...], breaker: Breaker) -> None:
        self._stores = stores
        self._breaker = breaker
        self.draining = False

    async def check(self) -> tuple[bool, Mapping[str, str]]:
        """Returns the verdict, and the state of each dependency for the body of the answer."""
        store = await self.stores_answer()
        return store and not self.draining, {
            "serving": "draining" if self.draining else "ok",
            "store": "ok" if store else "not answering",
            "upstream": "not answering" if self._breaker.is_open else "ok",
        }

    async def stores_answer(self) -> bool:
        try:
            for store in self._stores:
                await store.ping()
        except StoreAway:
            return False
        return True

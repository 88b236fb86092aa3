"""Readiness of one process: what `/readyz` answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from proxy.errors import StoreAway


class Pingable(Protocol):
    """A store that can be pinged."""

    async def ping(self) -> None:
        """Raises StoreAway where no answer comes in time."""


class SessionKeys(Protocol):
    """A set of keys that session tokens are verified with."""

    @property
    def usable(self) -> bool:
        """True where there is a set that is not too old."""


class Readiness:
    """Checks the stores of one process. Set *draining* to turn `/readyz` red.

    *upstream_state* returns the state of fal, which is reported and does not count: an unreachable fal would remove
    every replica from service at once. *notices* returns lasting conditions of the ledger, for the body of the answer.
    """

    def __init__(
        self,
        stores: tuple[Pingable, ...],
        upstream_state: Callable[[], str],
        keys: Sequence[SessionKeys] = (),
        notices: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        self._stores = stores
        self._upstream_state = upstream_state
        self._keys = keys
        self._notices = notices
        self.draining = False

    async def check(self) -> tuple[bool, Mapping[str, str]]:
        """Returns the verdict, and the state of each dependency for the body of the answer."""
        store = await self.stores_answer()
        keys = all(keys.usable for keys in self._keys)
        return store and keys and not self.draining, {
            "serving": "draining" if self.draining else "ok",
            "store": "ok" if store else "not answering",
            **({"session_keys": "ok" if keys else "missing or too old"} if self._keys else {}),
            **({"ledger": "; ".join(notices)} if (notices := self._notices()) else {}),
            "upstream": self._upstream_state(),
        }

    async def dependencies_answer(self) -> bool:
        """Returns whether the stores answer and all session keys are there."""
        return all(keys.usable for keys in self._keys) and await self.stores_answer()

    async def stores_answer(self) -> bool:
        try:
            for store in self._stores:
                await store.ping()
        except StoreAway:
            return False
        return True

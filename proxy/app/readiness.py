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
    def loaded(self) -> bool:
        """True once there has been a good set."""

    @property
    def state(self) -> str:
        """A word on the set for `/readyz`: "ok", or what is wrong with it."""


class Readiness:
    """Checks the stores of one process. Set *draining* to turn `/readyz` red.

    *upstream_state* returns the state of fal, which is reported and does not count: an unreachable fal would remove
    every replica from service at once. *notices* returns lasting conditions of the ledger, for the body of the answer.
    *key_states* returns the state of each fal key, where there are several.
    """

    def __init__(
        self,
        stores: tuple[Pingable, ...],
        upstream_state: Callable[[], str],
        keys: Sequence[SessionKeys] = (),
        notices: Callable[[], tuple[str, ...]] = tuple,
        key_states: Callable[[], str] = str,
    ) -> None:
        self._stores = stores
        self._upstream_state = upstream_state
        self._keys = keys
        self._notices = notices
        self._key_states = key_states
        self.draining = False

    async def check(self) -> tuple[bool, Mapping[str, str]]:
        """Returns the verdict, and the state of each dependency for the body of the answer."""
        store = await self.stores_answer()
        keys = all(keys.loaded for keys in self._keys)
        return store and keys and not self.draining, {
            "serving": "draining" if self.draining else "ok",
            "store": "ok" if store else "not answering",
            **({"session_keys": self._session_keys()} if self._keys else {}),
            **({"ledger": "; ".join(notices)} if (notices := self._notices()) else {}),
            "upstream": self._upstream_state(),
            **({"fal_keys": states} if (states := self._key_states()) else {}),
        }

    async def dependencies_answer(self) -> bool:
        """Returns whether the stores answer and all session keys are there."""
        return all(keys.loaded for keys in self._keys) and await self.stores_answer()

    def _session_keys(self) -> str:
        """Returns the states that are not well. Keys that are too old do not count: other issuers' are good."""
        return "; ".join(dict.fromkeys(keys.state for keys in self._keys if keys.state != "ok")) or "ok"

    async def stores_answer(self) -> bool:
        try:
            for store in self._stores:
                await store.ping()
        except StoreAway:
            return False
        return True

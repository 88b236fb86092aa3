"""Issuer and subject of recent callers by their key in stores, where the operator may see them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from proxy.auth.caller import Caller

MAX_NAMES = 10_000

Name = tuple[str, str]  # issuer and subject


class UserNames:
    """Names in the memory of one process. *store_key* returns the key in stores for the key of a caller."""

    def __init__(self, store_key: Callable[[str], str]) -> None:
        self._store_key = store_key
        self._names: dict[str, Name] = {}
        self._store_keys: dict[str, str] = {}

    def record(self, caller: Caller) -> None:
        """Keeps the name of *caller*; the oldest of more than MAX_NAMES is forgotten."""
        if caller.key in self._store_keys:
            return
        if len(self._store_keys) >= MAX_NAMES:
            oldest = next(iter(self._store_keys))
            self._names.pop(self._store_keys.pop(oldest), None)
        key = self._store_keys[caller.key] = self._store_key(caller.key)
        self._names[key] = (caller.issuer, caller.subject)

    def find(self, keys: Iterable[str]) -> Mapping[str, Name]:
        """Returns the names of those of *keys*, as stores have them, that are known."""
        return {key: self._names[key] for key in keys if key in self._names}

    def clear(self) -> None:
        """Forgets all names."""
        self._names.clear()
        self._store_keys.clear()

"""Readiness of one process, by its stores and session keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from proxy.app.readiness import Readiness
from proxy.errors import StoreAway


@dataclass
class Keys:
    """A set of session keys in some state."""

    loaded: bool
    state: str


@dataclass
class Store:
    """A store that answers or not."""

    away: bool = False

    async def ping(self) -> None:
        if self.away:
            raise StoreAway(reason="away")


GOOD, STALE, OLD, MISSING = Keys(True, "ok"), Keys(True, "not refreshed"), Keys(True, "too old"), Keys(False, "missing")


async def check(*keys: Keys, away: bool = False, draining: bool = False) -> tuple[bool, Mapping[str, str]]:
    readiness = Readiness((Store(away),), lambda: "not answering", keys)
    readiness.draining = draining
    return await readiness.check()


@pytest.mark.parametrize(
    ("keys", "ready", "state"),
    [
        ((), True, None),
        ((GOOD,), True, "ok"),
        ((GOOD, STALE), True, "not refreshed"),
        ((STALE, STALE, OLD), True, "not refreshed; too old"),
        ((GOOD, MISSING), False, "missing"),
    ],
)
async def test_session_keys(keys: tuple[Keys, ...], ready: bool, state: str | None) -> None:
    """A set that was never there is not ready; one that cannot be refreshed is only reported."""
    answer, checks = await check(*keys)

    assert answer == ready
    assert checks.get("session_keys") == state


async def test_what_is_not_ready() -> None:
    """A store that is away and a drain are not ready; fal's state does not count."""
    assert not (await check(away=True))[0]
    assert not (await check(draining=True))[0]
    assert (await check())[0]

"""Detection of lost data: a random text in the store that is gone when the store was emptied."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal
from uuid import uuid4

from proxy.billing.ledger.redis.replies import expect
from proxy.billing.ledger.redis.scripts.admin import GET_OR_SET
from proxy.errors import StoreAway
from proxy.storage.redis_client import Script

OnDataLoss = Literal["continue", "deny"]
Run = Callable[[Script, list[bytes | str | int]], Awaitable[object]]

_DENIED = "the ledger's data was lost; `fal-proxy ledger check --accept-loss` accepts it"


class Epoch:
    """Epoch of the data that this process has seen. `losses` counts how often it changed.

    With *on_loss* "deny" an empty store is not used until `accept` was called, also the very first time.
    """

    def __init__(self, run: Run, on_loss: OnDataLoss, report: Callable[[str], None]) -> None:
        self._run = run
        self._on_loss = on_loss
        self._report = report
        self._value = ""
        self.losses = 0

    @property
    def value(self) -> str:
        """The epoch. Raises StoreAway while lost data was not accepted."""
        if not self._value:
            raise StoreAway(reason=_DENIED)
        return self._value

    @property
    def is_denied(self) -> bool:
        return not self._value

    def notices(self, *, started: bool) -> list[str]:
        """Returns what an operator has to know about lost data."""
        if started and self.is_denied:
            return ["data lost, and not accepted by `fal-proxy ledger check --accept-loss`"]
        return [f"data lost {self.losses} times since the start"] if self.losses else []

    async def start(self) -> None:
        """Reads the epoch of the store, and sets one in an empty store unless lost data is to be denied."""
        self._value = await self._get_or_set("" if self._on_loss == "deny" else uuid4().hex)

    async def accept(self) -> None:
        """Begins an epoch in a store that has none."""
        self._value = await self._get_or_set(uuid4().hex)

    async def observe(self, current: str) -> None:
        """Compares the epoch that the store has now; where it is another one, the data was lost in between."""
        if current == self._value:
            return
        if self._value:
            self.losses += 1
            self._report("the ledger's data was lost: budgets, slots and open jobs start again from nothing")
        self._value = current
        if not current and self._on_loss == "continue":
            await self.start()

    async def _get_or_set(self, value: str) -> str:
        return expect(bytes, await self._run(GET_OR_SET, ["epoch", value])).decode()

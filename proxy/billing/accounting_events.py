"""Interfaces by which accounting reports its decisions, and has jobs looked at before a refusal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from proxy.auth.caller import Caller
from proxy.billing.ledger.interface import Crossing


class JobLooks(Protocol):
    """Looks at unfinished jobs before an in-flight limit refuses a call."""

    async def look_at_oldest(self, account: str) -> bool:
        """Returns True where a job that held a slot of *account* has ended. Raises StoreAway."""

    async def next_look(self, account: str) -> float:
        """Returns the seconds until the next look makes sense. Raises StoreAway."""


@dataclass(frozen=True, slots=True)
class AccountingEvents:
    """Callbacks for metrics and webhooks.

    *lost*: a settlement could not be written, so the sweep will count that reservation as spent. *crossed*: a budget
    reached a threshold by a call of that caller.
    """

    lost: Callable[[], None] = lambda: None
    crossed: Callable[[Crossing, Caller], None] = lambda crossing, caller: None

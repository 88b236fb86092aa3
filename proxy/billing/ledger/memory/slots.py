"""Slots of in-flight limits: how many of an account are live at a given time. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, nextafter

from proxy.billing.ledger.memory.deadline_queue import DeadlineQueue


class SlotTable:
    """Slots of one account, by the id of their reservation.

    A slot that has run out stays until it is removed: it is live again when the clock is set back.
    """

    __slots__ = ("_expired", "_live")

    def __init__(self) -> None:
        self._live: DeadlineQueue[str] = DeadlineQueue()
        self._expired: DeadlineQueue[str] = DeadlineQueue()  # by the negative end: the latest first

    def __len__(self) -> int:
        return len(self._live) + len(self._expired)

    def __iter__(self) -> Iterator[str]:
        """Yields ids, the oldest first."""
        yield from self._expired
        yield from self._live

    def put(self, call_id: str, until: float) -> None:
        """Takes a slot, or moves its end. *until* in unix seconds."""
        self._expired.discard(call_id)
        self._live.put(call_id, until)

    def remove(self, call_id: str) -> None:
        self._live.discard(call_id)
        self._expired.discard(call_id)

    def live(self, now: float) -> int:
        """Returns the number of slots that end after *now*."""
        while (expired := self._live.pop_due(now)) is not None:
            self._expired.put(expired[0], -expired[1])
        # Slots that end after *now* have a negative end below -now.
        while (live := self._expired.pop_due(nextafter(-now, -inf))) is not None:
            self._live.put(live[0], -live[1])
        return len(self._live)


class Slots:
    """Slot tables of all accounts, and the order in which slots end."""

    def __init__(self) -> None:
        self._tables: dict[str, SlotTable] = {}
        self._ends: DeadlineQueue[tuple[str, str]] = DeadlineQueue()

    def live(self, account: str, now: float) -> int:
        table = self._tables.get(account)
        return 0 if table is None else table.live(now)

    def holders(self, account: str) -> Iterator[str]:
        """Yields the ids of an account's reservations, the oldest first."""
        return iter(self._tables.get(account, ()))

    def count(self, account: str) -> int:
        return len(self._tables.get(account, ()))

    def put(self, account: str, call_id: str, until: float) -> None:
        table = self._tables.get(account)
        if table is None:
            table = self._tables[account] = SlotTable()
        table.put(call_id, until)
        self._ends.put((account, call_id), until)

    def remove(self, account: str, call_id: str) -> None:
        self._ends.discard((account, call_id))
        self._drop(account, call_id)

    def pop_ended(self, now: float) -> tuple[str, str] | None:
        """Removes one slot that ended, and returns its account and id."""
        ended = self._ends.pop_due(now)
        if ended is None:
            return None
        self._drop(*ended[0])
        return ended[0]

    def _drop(self, account: str, call_id: str) -> None:
        table = self._tables.get(account)
        if table is not None:
            table.remove(call_id)
            if not len(table):
                del self._tables[account]

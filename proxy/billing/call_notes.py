"""Notes of calls in the ledger: callers that lost their connection, and answers stored for repeats."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from proxy.billing.ledger.interface import CallNote, Ledger
from proxy.billing.reservations import Reservation
from proxy.errors import StoreAway


class CallNotes:
    """Notes of the calls of one process.

    *ttl*: seconds that an answer is stored for a key, *rejoin* for a lost call.

    *away* is called where something could not be written: the outcome of that call is then unknown to a repeat.
    """

    def __init__(self, *, clock: Callable[[], float], ttl: float, rejoin: float, away: Callable[[], None]) -> None:
        self._clock = clock
        self._ttl = ttl
        self._rejoin = rejoin
        self._away = away
        self._tasks: set[asyncio.Task[None]] = set()  # a task without a reference may vanish before its end

    def lose(self, ledger: Ledger | None, call_id: str, note: CallNote | None) -> asyncio.Task[None] | None:
        """Starts to record that the caller's connection ended before its answer.

        Returns None where none is joined.
        """
        if note is None or ledger is None:
            return None
        task = asyncio.get_running_loop().create_task(self._lose(ledger, call_id, note))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def store(self, reservation: Reservation, answer: bytes, *, lost: bool) -> None:
        """Stores the answer of a call for the repeats that its key or its fingerprint will bring."""
        request, ledger = reservation.request, reservation.ledger
        if request is None or ledger is None:
            return
        now = self._clock()
        try:
            if request.claim is not None:
                await ledger.store_answer(request.claim.key, answer, owner=reservation.id, now=now, ttl=self._ttl)
            elif lost:
                await ledger.answer_call(reservation.id, answer, now=now, ttl=self._rejoin)
        except StoreAway:
            self._away()

    async def _lose(self, ledger: Ledger, call_id: str, note: CallNote) -> None:
        try:
            await ledger.mark_lost(call_id, note, now=self._clock())
        except StoreAway:
            self._away()

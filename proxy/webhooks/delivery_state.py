"""State of webhooks in the ledger: the job of each submit, and the jobs that the app was notified of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from enum import Enum
from uuid import uuid4

from proxy.billing.ledger.interface import KeyState, Ledger, StoredAnswer
from proxy.errors import StoreAway


class DeliveryLock(Enum):
    """Lock on the notification of the app about one job."""

    OURS = "ours"
    TAKEN = "taken"  # another delivery is under way


class DeliveryState:
    """State of webhooks. Seconds: *keep* is how long it is stored, *hold* how long one delivery may take.

    *away* is called where something could not be written.
    """

    def __init__(
        self, ledger: Ledger, *, keep: float, hold: float, clock: Callable[[], float], away: Callable[[], None]
    ) -> None:
        self._ledger = ledger
        self._keep = keep
        self._hold = hold
        self._clock = clock
        self._away = away

    async def bind(self, reservation_id: str, upstream_id: str) -> bool:
        """Binds a submit to its job. Returns False where it is bound to another one.

        Raises StoreAway.
        """
        claim = await self._ledger.claim_key(
            _digest("job of", reservation_id),
            _digest("is", upstream_id),
            owner=uuid4().hex,
            now=self._clock(),
            ttl=self._keep,
            hold=0,
        )
        return claim is not KeyState.MISMATCH

    async def acquire(self, job: str, owner: str) -> DeliveryLock | bytes:
        """Returns OURS for one *owner* at a time, or the signature that `complete` stored. Raises StoreAway."""
        # The claim ends with its hold: a worker that dies during a delivery must not block all others.
        claim = await self._ledger.claim_key(
            _digest("told of", job), "", owner=owner, now=self._clock(), ttl=self._hold, hold=self._hold
        )
        if isinstance(claim, StoredAnswer):
            return claim.answer
        return DeliveryLock.OURS if claim is KeyState.FRESH else DeliveryLock.TAKEN

    async def complete(self, job: str, owner: str, signature: bytes) -> None:
        """Stores that the app was notified, by a webhook of fal with *signature*."""
        key = _digest("told of", job)
        try:
            await self._ledger.store_answer(key, signature, owner=owner, now=self._clock(), ttl=self._keep)
        except StoreAway:
            self._away()

    async def release(self, job: str, owner: str) -> None:
        """Lets the next webhook try."""
        try:
            await self._ledger.free_key(_digest("told of", job), owner=owner)
        except StoreAway:
            self._away()


def _digest(kind: str, name: str) -> str:
    return hashlib.sha256(f"webhook: {kind} {name}".encode()).hexdigest()

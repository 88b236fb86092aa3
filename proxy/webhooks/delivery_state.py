"""What the ledger remembers of callbacks: which job a submit became, and which jobs the app has been told of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from enum import Enum
from uuid import uuid4

from proxy.billing.ledger.interface import Claim, Ledger, Stored
from proxy.errors import StoreAway


class Turn(Enum):
    """Whose it is to tell the app of a job it does not know of yet."""

    OURS = "ours"
    TAKEN = "taken"  # somebody is at it


class CallbackClaims:
    """Seconds: *keep* is how long all this is remembered, *hold* how long one who tells the app may take at most.

    *away* is told where something could not be written.
    """

    def __init__(
        self, ledger: Ledger, *, keep: float, hold: float, clock: Callable[[], float], away: Callable[[], None]
    ) -> None:
        self._ledger = ledger
        self._keep = keep
        self._hold = hold
        self._clock = clock
        self._away = away

    async def bind(self, ticket: str, upstream_id: str) -> bool:
        """Whether *upstream_id* is what the submit under *ticket* became; what is said of it first holds.

        Raises StoreAway.
        """
        said = await self._ledger.claim(
            _digest("job of", ticket),
            _digest("is", upstream_id),
            owner=uuid4().hex,
            now=self._clock(),
            ttl=self._keep,
            hold=0,
        )
        return said is not Claim.MISMATCH

    async def begin(self, job: str, owner: str) -> Turn | bytes:
        """OURS for one *owner* at a time; once the app knows, the signature `conclude` was given. Raises StoreAway."""
        # Forgotten as soon as it is not held: one who was killed at it must not keep all others from it.
        said = await self._ledger.claim(
            _digest("told of", job), "", owner=owner, now=self._clock(), ttl=self._hold, hold=self._hold
        )
        if isinstance(said, Stored):
            return said.answer
        return Turn.OURS if said is Claim.FRESH else Turn.TAKEN

    async def conclude(self, job: str, owner: str, signature: bytes) -> None:
        """The app knows, by a callback with *signature*. Where that cannot be written another would tell it twice."""
        key = _digest("told of", job)
        try:
            await self._ledger.store(key, signature, owner=owner, now=self._clock(), ttl=self._keep)
        except StoreAway:
            self._away()

    async def give_up(self, job: str, owner: str) -> None:
        """The next one may try."""
        try:
            await self._ledger.free(_digest("told of", job), owner=owner)
        except StoreAway:
            self._away()


def _digest(kind: str, name: str) -> str:
    return hashlib.sha256(f"webhook: {kind} {name}".encode()).hexdigest()

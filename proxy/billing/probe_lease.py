"""Lease of the account probe, kept in the ledger: one worker probes, the others read its finding."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from uuid import uuid4

from proxy.billing.ledger.interface import KeyState, Ledger, StoredAnswer
from proxy.upstream.account.probe import Finding

_LIFETIME = 60.0  # seconds that a finding is kept: longer than the time between two probes
_HOLD = 30.0  # seconds after which a worker that did not publish counts as gone


class LedgerProbeLease:
    """Lease of the probe, in the keys of the ledger. *clock* returns unix seconds."""

    def __init__(self, ledger: Ledger, *, clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._owner = uuid4().hex

    async def take(self, name: str) -> Finding | None:
        """Returns the finding under *name*, or None for the one worker that shall probe. Raises StoreAway."""
        claim = await self._ledger.claim_key(
            _key(name), "", owner=self._owner, now=self._clock(), ttl=_LIFETIME, hold=_HOLD
        )
        if isinstance(claim, StoredAnswer):
            return Finding(claim.answer.decode("ascii"))
        return Finding.PENDING if claim is KeyState.BUSY else None

    async def publish(self, name: str, finding: Finding) -> None:
        """Stores the finding for the workers that share the lease. Raises StoreAway."""
        answer = finding.value.encode("ascii")
        await self._ledger.store_answer(_key(name), answer, owner=self._owner, now=self._clock(), ttl=_LIFETIME)


def _key(name: str) -> str:
    return sha256(f"account probe: {name}".encode()).hexdigest()

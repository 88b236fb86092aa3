"""What a ledger is asked and what it says. Two bodies keep it: `sqlite_ledger` and `redis_ledger`.

Every method takes *now*, unix seconds, and is one atomic step: it happens whole or not at all, also when whoever called
it is cancelled. A store that does not answer within its budget raises StoreAway; the step may then have happened.
For every enforced charge, as long as its limit is not changed: 0 <= used + reserved <= limit, at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Literal, Protocol

from proxy.billing.ledger.money import Micros

WhenAway = Literal["deny", "local", "allow"]  # what an allowance does while the store does not answer


@dataclass(frozen=True, slots=True)
class Charge:
    """What one budget means for one request: sum over *counted* buckets of *account*, plus the price, <= *limit*.

    *endpoint* is there where the budget counts each endpoint for itself.
    """

    budget: str
    account: str
    current: int
    counted: tuple[int, ...]
    limit: Micros
    renews_at: float
    ttl: float
    enforce: bool
    when_away: WhenAway = "deny"
    endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Seat:
    """What one in-flight limit means for one request: live leases of *account*, plus one, <= *limit*."""

    name: str
    account: str
    limit: int
    lease: float
    enforce: bool
    when_away: WhenAway = "deny"


@dataclass(frozen=True, slots=True)
class Entry:
    """One request to be paid for. *ttl*: seconds after which an outcome nobody reported counts as spent."""

    caller: str
    endpoint: str
    amount: Micros
    charges: tuple[Charge, ...]
    seats: tuple[Seat, ...]
    ttl: float


@dataclass(frozen=True, slots=True)
class Shortfall:
    """An allowance without room: *left* of *limit*, in millionths of a unit or in jobs.

    *renews_at* is None where no time brings any back.
    """

    kind: Literal["budget", "in-flight"]
    name: str
    limit: int
    left: int
    renews_at: float | None


@dataclass(frozen=True, slots=True)
class Reserved:
    """*observed*: what allowances in observe mode would have refused; they were charged all the same."""

    observed: tuple[Shortfall, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """How one allowance stands; of seats *used* is the jobs in flight and *reserved* is 0.

    *endpoint* is not the ledger's to know: whoever asked says it where there is one.
    """

    name: str
    limit: int
    used: int
    reserved: int
    renews_at: float | None
    endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class DayLine:
    """One day (UTC) of one caller on one endpoint. Amounts in millionths; *submits* counts reservations made."""

    day: date
    caller: str
    endpoint: str
    submits: int
    used: Micros
    reserved: Micros
    refunded: Micros
    unsettled: Micros
    overrun: Micros


class Claim(Enum):
    """An idempotency key that has no stored answer to give."""

    FRESH = "fresh"  # ours now: go on, then store or free it
    BUSY = "busy"  # somebody is at it: ask again
    MISMATCH = "mismatch"  # used before, with another body
    UNKNOWN = "unknown"  # whoever was at it never said what became of it


@dataclass(frozen=True, slots=True)
class Stored:
    """The answer kept under an idempotency key, opaque to the ledger."""

    answer: bytes


class Ledger(Protocol):
    async def reserve(self, ticket: str, entry: Entry, *, now: float) -> Reserved | Shortfall:
        """Room in all enforced charges and seats, or the first shortfall and nothing written anywhere."""
        ...

    async def accept(self, ticket: str, job: str, *, now: float) -> None:
        """fal took it as *job*. The amount stays reserved. Of an unknown ticket, and twice: no effect."""
        ...

    async def refund(self, ticket: str, *, now: float) -> None:
        """Certainly not taken: reservation and seats are gone. Of an unknown or ended ticket, and twice: no effect."""
        ...

    async def settle(self, job: str, *, amount: Micros | None, now: float) -> bool:
        """*job* has ended: *amount* (None: what was reserved) is spent, at most what was reserved; seats are freed.

        What exceeds the reservation is noted as overrun. 0 is a refund. True the first time only.
        """
        ...

    async def release(self, job: str, *, now: float) -> None:
        """Frees the seats of *job*, and nothing else."""
        ...

    async def sweep(self, *, now: float, limit: int = 1000) -> int:
        """Reservations past their ttl are spent and marked unsettled; old leases, keys and buckets are dropped.

        At most *limit* reservations; how many it was.
        """
        ...

    async def standings(
        self, charges: tuple[Charge, ...], seats: tuple[Seat, ...], *, now: float
    ) -> tuple[Standing, ...]:
        """One for each charge, then one for each seat."""
        ...

    async def report(self, *, since: date, until: date) -> tuple[DayLine, ...]:
        """All days from *since* to *until*, both included, by day, caller and endpoint."""
        ...

    async def claim(
        self, key: str, body_hash: str, *, owner: str, now: float, ttl: float, hold: float
    ) -> Claim | Stored:
        """FRESH for the first; *owner* names the attempt. One that neither stored nor freed within *hold* is UNKNOWN.

        Keys are forgotten *ttl* seconds after they were claimed or stored.
        """
        ...

    async def store(self, key: str, answer: bytes, *, owner: str, now: float, ttl: float) -> None:
        """The answer for all who claim *key* from now on. Only the owner's claim is answered; else no effect."""
        ...

    async def free(self, key: str, *, owner: str) -> None:
        """The next claim is FRESH again. Only the owner's claim; else no effect."""
        ...

    async def ping(self) -> None:
        """Raises StoreAway."""
        ...

    async def warnings(self) -> tuple[str, ...]:
        """How what keeps the ledger is set up to lose what it is told, in words for the log. Raises StoreAway."""
        ...

    async def aclose(self) -> None: ...

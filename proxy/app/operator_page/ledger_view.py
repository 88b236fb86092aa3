"""View of the ledger for the operator: the spend of today, and the newest open calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime

from proxy.billing.ledger.interface import DailyUsage, Ledger
from proxy.billing.ledger.jobs import JobRecord
from proxy.billing.ledger.money import MICRO
from proxy.billing.usage_report import summed
from proxy.errors import StoreAway
from proxy.strict_json import Json

MAX_USERS = 20  # that spent most
MAX_JOBS = 50
MIN_AGE, MAX_AGE = 2.0, 30.0  # seconds that a report is used for
REPORT_SHARE = 50  # in between, so many times as long as it took
_MANY_LINES = 2000  # of a report, which a thread adds


@dataclass(frozen=True, slots=True)
class DaySpend:
    """DaySpend of one day (UTC), in the operator's units. *users* are those that spent most."""

    day: date
    used: float
    reserved: float
    refunded: float
    users: tuple[dict[str, Json], ...]
    number_of_users: int

    @property
    def committed(self) -> float:
        return self.used + self.reserved


class LedgerView:
    """Reads of *ledger* that cost it little: a report of all users is used again for a while.

    *clock* gives unix seconds, *monotonic* the seconds by which a report ages.
    """

    def __init__(self, ledger: Ledger, *, clock: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._monotonic = monotonic
        self._spend: DaySpend | None = None
        self._expires = 0.0
        self._reading = asyncio.Lock()

    def committed(self, now: float) -> float | None:
        """Returns the units committed on the day of *now*, as they were read last."""
        is_today = self._spend is not None and self._spend.day == datetime.fromtimestamp(now, UTC).date()
        return self._spend.committed if self._spend is not None and is_today else None

    async def spend(self) -> DaySpend | None:
        """Returns the spend of today, None where the ledger does not answer."""
        async with self._reading:
            today, begun = datetime.fromtimestamp(self._clock(), UTC).date(), self._monotonic()
            if self._spend is None or self._spend.day != today or begun >= self._expires:
                try:
                    lines = await self._ledger.report(since=today, until=today)
                except StoreAway:
                    self._spend = None
                    return None
                is_long = len(lines) > _MANY_LINES
                self._spend = await asyncio.to_thread(_sum, today, lines) if is_long else _sum(today, lines)
                now = self._monotonic()
                self._expires = now + min(max(MIN_AGE, REPORT_SHARE * (now - begun)), MAX_AGE)
            return self._spend

    async def open_calls(self) -> tuple[int, tuple[JobRecord, ...]] | None:
        """Returns the number of open calls and the newest ones, None where the ledger does not answer."""
        try:
            return await self._ledger.open_calls(limit=MAX_JOBS)
        except StoreAway:
            return None


def _sum(day: date, lines: Iterable[DailyUsage]) -> DaySpend:
    lines = list(lines)
    users = summed(lines, "user")
    users.sort(key=_committed, reverse=True)
    return DaySpend(
        day=day,
        used=sum(line.used for line in lines) / MICRO,
        reserved=sum(line.reserved for line in lines) / MICRO,
        refunded=sum(line.refunded for line in lines) / MICRO,
        users=tuple(users[:MAX_USERS]),
        number_of_users=len(users),
    )


def _committed(row: dict[str, Json]) -> float:
    return sum(value for name in ("used", "reserved") if isinstance(value := row[name], float))

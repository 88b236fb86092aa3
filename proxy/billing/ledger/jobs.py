"""Values of a ledger about jobs, credits and itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Literal

from proxy.billing.ledger.money import Micros
from proxy.strict_json import Json

OpenState = Literal["queued", "running"]
EndState = Literal["completed", "failed", "cancelled", "unknown"]
JobState = Literal["queued", "running", "completed", "failed", "cancelled", "unknown"]
Cursor = tuple[float, str]  # created and id of the last job of a page
Row = tuple[str, Mapping[str, Json]]  # table and columns, as `dump` writes them

MAX_USAGE_DAYS = 400  # that any ledger keeps


@dataclass(frozen=True, slots=True)
class Retention:
    """Ages at which records are removed.

    *jobs* is in seconds since their end, *usage_days* is for the sums of days.
    """

    jobs: float = 30 * 86_400.0
    usage_days: int = MAX_USAGE_DAYS

    def oldest_day(self, now: float) -> date:
        """Returns the first day whose sums stay."""
        return datetime.fromtimestamp(max(0.0, now - self.usage_days * 86_400.0), UTC).date()


@dataclass(frozen=True, slots=True)
class JobRecord:
    """Line item of one call.

    *call_id* names the reservation, *job* the job (`<app>/<upstream id>`, None without one).

    *amount* was reserved. *price* is what was spent, None while open. Times in unix seconds.
    """

    id: str
    job: str | None
    key_alias: str
    caller: str
    endpoint: str
    state: JobState
    amount: Micros
    price: Micros | None
    created: float
    ended: float | None


@dataclass(frozen=True, slots=True)
class Credit:
    """Grant beyond the limit of one account: *left* of *amount*, until *expires* (None: without end)."""

    id: str
    account: str
    amount: Micros
    left: Micros
    expires: float | None


FORGOTTEN = "forgotten"  # the caller of sums of days whose user was forgotten


@dataclass(frozen=True, slots=True)
class ForgottenUser:
    """User whose records are removed: ended calls, stored answers, and credits of *accounts*.

    Sums of days go to FORGOTTEN. With *spends* the buckets of *accounts* go, too.
    """

    caller: str
    accounts: tuple[str, ...] = ()
    spends: bool = False


@dataclass(frozen=True, slots=True)
class LedgerStats:
    """Figures of one process for the metrics. *queue*: calls that wait for the store now."""

    failures: int = 0
    commits: int = 0
    commit_seconds: float = 0.0
    queue: int = 0
    open_jobs: int = 0
    unsettled: int = 0

"""Report of one worker for the operator page, as it is sent to the worker that answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class Bars(_Value):
    """Counts of the bars of one range, the oldest first; *end* is the number of the last one since 1970."""

    end: int
    answered: Sequence[int]
    refused: Sequence[int]
    failed: Sequence[int]
    committed: Sequence[float]


class RecentRequest(_Value):
    """One request: nothing of its path, its payload or its credentials. Times in milliseconds.

    *at* is in unix seconds, *kind* 0 for an answered request, 1 for a refused and 2 for a failed one.
    """

    at: float
    request_id: str
    method: str
    action: str
    endpoint: str | None
    user: str | None
    status: int
    kind: int
    error_type: str | None
    reason: str | None
    outcome: str | None
    would_deny: str | None
    ended: str | None
    fal_ms: float | None
    total_ms: float
    response_bytes: int


class Pause(_Value):
    """Pause of a fal key, or of one endpoint with it, while fal refuses it. *key* is the name of the key."""

    key: str
    scope: str
    cause: str


class StoreState(_Value):
    """The store as one worker sees it: calls that failed since its start, and those that wait now."""

    breaker_open: bool
    failures: int
    pending: int


class LedgerState(_Value):
    """The ledger as one worker sees it."""

    failures: int
    queue: int
    notices: Sequence[str]


class Gauges(_Value):
    """State of a live worker."""

    active: int
    streams: int
    connections: int
    draining: bool
    breakers: Mapping[str, bool]
    keys: Sequence[str]
    pauses: Sequence[Pause]
    store: StoreState | None
    ledger: LedgerState


class Report(_Value):
    """Counts of one worker on *day* (days since 1970, UTC), and its state.

    *total* is the number of requests since its start. *waits* are the last waits for fal by action. Times are in unix
    seconds. *gauges* is None for a worker that has ended.
    """

    pid: int
    started: float
    day: int
    total: int
    statuses: Mapping[str, int]
    refusals: Mapping[str, int]
    bars: Mapping[str, Bars]
    waits: Mapping[str, Sequence[float]]
    recent: Sequence[RecentRequest]
    gauges: Gauges | None

"""The [[limits]], [[budgets]] and [[in_flight]] tables: request rates, spending and unfinished jobs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from proxy.billing.ledger.interface import OnStoreError
from proxy.config.value_types import Mode, Name, Rate, Section, Units, Zone
from proxy.fal_api.operations import Action


class Limit(Section):
    """A short-window request limit, e.g. `rate = "30/minute"` (the notation of the `limits` library)."""

    name: Name
    per: Literal["user", "address"]
    actions: tuple[Action, ...] = Field(min_length=1)
    rate: Rate
    on_store_error: OnStoreError = "deny"
    mode: Mode = "enforce"


class BudgetSection(Section):
    """So much in a window: "day" or "month" of *zone*, or the last *n* hours ("24h"). Units are the operator's."""

    name: Name
    per: Literal["user", "claim", "endpoint", "global"]
    window: str = Field(pattern=r"^(day|month|[1-9][0-9]{0,3}h)$")
    zone: Zone = "UTC"
    limit: Units | None = None
    claim: str | None = None
    tiers: dict[str, Units] = Field(default_factory=dict)
    tier_claim: str | None = None
    endpoints: tuple[str, ...] = ()
    mode: Mode = "enforce"
    on_store_error: OnStoreError = "deny"


class InFlightSection(Section):
    """So many unfinished jobs at once; a job nobody hears of frees its place after *lease_seconds*."""

    name: Name
    per: Literal["user", "global"]
    limit: int = Field(ge=1, le=1_000_000)
    lease_seconds: float = Field(default=3600.0, ge=10, le=7 * 86_400)
    endpoints: tuple[str, ...] = ()
    mode: Mode = "enforce"
    on_store_error: OnStoreError = "deny"


# Polls have windows of their own: the Python client asks every 100 ms, and a cancel must never wait behind polls.
DEFAULT_LIMITS = (
    Limit(name="submit-user", per="user", actions=(Action.SUBMIT,), rate="30/minute"),
    Limit(name="submit-address", per="address", actions=(Action.SUBMIT,), rate="120/minute"),
    Limit(name="run-user", per="user", actions=(Action.RUN, Action.RUN_STREAM), rate="30/minute"),
    Limit(name="run-address", per="address", actions=(Action.RUN, Action.RUN_STREAM), rate="120/minute"),
    Limit(
        name="poll-user", per="user", actions=(Action.STATUS, Action.RESULT), rate="1200/minute", on_store_error="local"
    ),
    Limit(name="stream-user", per="user", actions=(Action.STATUS_STREAM,), rate="60/minute", on_store_error="local"),
    Limit(name="cancel-user", per="user", actions=(Action.CANCEL,), rate="60/minute", on_store_error="local"),
    Limit(name="upload-user", per="user", actions=(Action.UPLOAD,), rate="30/minute"),
    Limit(name="token-user", per="user", actions=(Action.TOKEN,), rate="10/minute"),
)

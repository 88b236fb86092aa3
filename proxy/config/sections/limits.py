"""The [[limits]], [[budgets]], [[in_flight]] and [overload] tables: rates, spending, jobs, load."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from proxy.config.value_types import DAY, HOUR, MIB, Name, Rate, Section, Units, Zone
from proxy.limit_modes import Mode, OnStoreError

# The names of `fal_api.operations.Action`, and payloads that were refused.
LimitedAction = Literal[
    "submit",
    "status",
    "status-stream",
    "result",
    "cancel",
    "run",
    "run-stream",
    "upload",
    "token",
    "session",
    "jobs",
    "quote",
    "refused",
]
_NAME = "Name in messages, metrics and `usage`: lower-case letters, digits and hyphens."
_MODE = '"enforce" refuses; "observe" only logs what it would refuse, to try a limit.'
_ON_STORE_ERROR = (
    'While the store does not answer: "deny" refuses with 503, "local" counts in this process, "allow" does not count.'
)


class Limit(Section):
    """A limit of requests in a short window. Any table replaces all the defaults below."""

    name: Name = Field(description=_NAME, examples=["submit-user"])
    per: Literal["user", "address", "claim"] = Field(
        description="One count for each user, client address or value of `claim`."
    )
    actions: tuple[LimitedAction, ...] = Field(
        min_length=1,
        description='Operations that are counted together. "refused" counts requests whose body was refused; such a '
        "request counts in no other window.",
    )
    rate: Rate = Field(description="Number of requests and window, as in `30/minute` or `100/5 minutes`.")
    endpoints: tuple[str, ...] = Field(default=(), description="Endpoints that are counted. Left out: all endpoints.")
    claim: str | None = Field(default=None, description='Claim of the session token, where `per` is "claim".')
    tiers: dict[str, Rate] = Field(
        default_factory=dict, description="Rates by the value of `tier_claim`; `rate` is for all other values."
    )
    tier_claim: str | None = Field(default=None, description="Claim of the session token that names the tier.")
    on_store_error: OnStoreError = Field(default="deny", description=_ON_STORE_ERROR)
    mode: Mode = Field(default="enforce", description=_MODE)


class BudgetSection(Section):
    """A limit of spending in a window.

    Prices, budgets and usage are in units of your choice, as credits or dollars.
    """

    name: Name = Field(description=_NAME, examples=["per-day"])
    per: Literal["user", "address", "claim", "endpoint", "global"] = Field(
        description="One budget for each user, client address, value of `claim` or endpoint, or one for all."
    )
    window: str = Field(
        pattern=r"^(day|week|month|lifetime|[1-9][0-9]{0,3}h)$",
        description='"day", "week" (from Monday) or "month" of the calendar in `zone`, the last n hours, as in "24h", '
        'or "lifetime", which never renews.',
        examples=["day", "week", "month", "24h", "lifetime"],
    )
    zone: Zone = Field(default="UTC", description="Time zone of calendar windows, as in `Europe/Berlin`.")
    limit: Units | None = Field(
        default=None, description="Units in a window. Needed, unless every caller has a tier in `tiers`."
    )
    claim: str | None = Field(default=None, description='Claim of the session token, where `per` is "claim".')
    tiers: dict[str, Units] = Field(
        default_factory=dict, description="Limits by the value of `tier_claim`; `limit` is for all other values."
    )
    tier_claim: str | None = Field(default=None, description="Claim of the session token that names the tier.")
    endpoints: tuple[str, ...] = Field(
        default=(), description="Endpoints that are counted, `uploads` and `realtime` too. Left out: all endpoints."
    )
    thresholds: tuple[Annotated[int, Field(ge=1, le=100)], ...] = Field(
        default=(),
        description="Percentages of the limit that are reported once in a window, by a metric, the log and, where "
        "`[webhooks]` names an app, a signed webhook. 100 is also reported at the first refusal.",
        examples=[[50, 80, 100]],
    )
    mode: Mode = Field(default="enforce", description=_MODE)
    on_store_error: OnStoreError = Field(default="deny", description=_ON_STORE_ERROR)


class InFlightSection(Section):
    """A limit of unfinished jobs at once."""

    name: Name = Field(description=_NAME, examples=["jobs-user"])
    per: Literal["user", "address", "claim", "global"] = Field(
        description="One count for each user, client address or value of `claim`, or one for all."
    )
    limit: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Most unfinished jobs. Needed, unless every caller has a tier in `tiers`.",
    )
    claim: str | None = Field(default=None, description='Claim of the session token, where `per` is "claim".')
    tiers: dict[str, Annotated[int, Field(ge=0, le=1_000_000)]] = Field(
        default_factory=dict, description="Limits by the value of `tier_claim`; `limit` is for all other values."
    )
    tier_claim: str | None = Field(default=None, description="Claim of the session token that names the tier.")
    lease_seconds: float = Field(
        default=float(HOUR),
        ge=10,
        le=7 * DAY,
        description="Time after which a job whose end was not seen frees its slot.",
    )
    endpoints: tuple[str, ...] = Field(default=(), description="Endpoints that are counted. Left out: all endpoints.")
    mode: Mode = Field(default="enforce", description=_MODE)
    on_store_error: OnStoreError = Field(default="deny", description=_ON_STORE_ERROR)


class OverloadSection(Section):
    """Limits of the work that one process takes on.

    Requests beyond them are refused at once, with 503 or 429.
    """

    shed: bool = Field(
        default=True,
        description="Whether requests are refused that would wait too long for this process: first those without a "
        "session, then polls, results and submits. Cancels and open streams go on. Only `fal-proxy serve` does it.",
    )
    max_lag_seconds: float = Field(
        default=0.25,
        ge=0.005,
        le=5,
        description="Time that the requests under way may need of this process, as measured, before further ones are "
        "refused; in a burst twice as long. Requests that wait for fal do not count.",
    )
    min_in_flight: int = Field(
        default=32,
        ge=1,
        le=100_000,
        description="Requests under way in one process, without streams, up to which none is refused.",
    )
    body_memory_bytes: int = Field(
        default=512 * MIB,
        ge=MIB,
        description="Memory of one process for request bodies that are not answered yet. Each byte of a body counts "
        "twice, which is what it takes while fal does not read. More are refused with 503.",
    )
    user_body_bytes: int = Field(
        default=256 * MIB,
        ge=MIB,
        description="Bytes of request bodies of one user at once in one process. More are refused with 429.",
    )


# Polls have windows of their own: the Python client polls every 100 ms, and a cancel must never wait behind polls.
DEFAULT_LIMITS = (
    Limit(name="submit-user", per="user", actions=("submit",), rate="30/minute"),
    Limit(name="submit-address", per="address", actions=("submit",), rate="120/minute"),
    Limit(name="run-user", per="user", actions=("run", "run-stream"), rate="30/minute"),
    Limit(name="run-address", per="address", actions=("run", "run-stream"), rate="120/minute"),
    Limit(name="poll-user", per="user", actions=("status", "result"), rate="1200/minute", on_store_error="local"),
    Limit(name="stream-user", per="user", actions=("status-stream",), rate="60/minute", on_store_error="local"),
    Limit(name="cancel-user", per="user", actions=("cancel",), rate="60/minute", on_store_error="local"),
    Limit(name="upload-user", per="user", actions=("upload",), rate="30/minute"),
    Limit(name="token-user", per="user", actions=("token",), rate="10/minute"),
    Limit(name="jobs-user", per="user", actions=("jobs",), rate="60/minute", on_store_error="local"),
    Limit(name="quote-user", per="user", actions=("quote",), rate="60/minute", on_store_error="local"),
    Limit(name="refused-user", per="user", actions=("refused",), rate="60/minute", on_store_error="local"),
    Limit(name="session-address", per="address", actions=("session",), rate="10/hour"),
)

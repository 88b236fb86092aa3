"""The tables of the configuration file, and what a value can be checked for alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field, IPvAnyNetwork, JsonValue

from proxy.budgets import WhenAway
from proxy.limits import parse_rate
from proxy.section import Section
from proxy.targets import Action, endpoint_id
from proxy.upstream import Origin
from proxy.webhook_section import WebhooksSection


def _origin(text: str) -> str:
    Origin.parse(text)
    return text.rstrip("/")


def _rate(text: str) -> str:
    parse_rate(text)
    return text


def _zone(text: str) -> str:
    if text not in available_timezones():
        raise ValueError("not the name of a time zone")
    return text


def _number(value: JsonValue) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")  # noqa: TRY004 pydantic turns only a ValueError into a problem
    return value


# A plain union would put the name of the branch that failed into the key of a problem.
Number = Annotated[JsonValue, AfterValidator(_number)]
OriginText = Annotated[str, AfterValidator(_origin)]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=3600)]
Units = Annotated[float, Field(ge=0, le=1e9)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
Mode = Literal["enforce", "observe"]
DEFAULT_ACTIONS = (Action.SUBMIT, Action.STATUS, Action.RESULT, Action.CANCEL)


def _offered(action: Action) -> Action:
    if action not in DEFAULT_ACTIONS:
        raise ValueError("not offered in this version")
    return action


class Server(Section):
    """Where callers reach us. *public_origin* is what callers use (the front proxy's), never taken from a request."""

    public_origin: OriginText
    prefix: str = Field(default="/api/fal", pattern=r"^(/[A-Za-z0-9._-]+)+$")
    host: str = "127.0.0.1"
    port: Port = 8080
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[IPvAnyNetwork, ...] = ()
    forwarded_header: Literal["x-forwarded-for", "x-real-ip"] = "x-forwarded-for"
    cors_origins: tuple[OriginText, ...] = ()
    max_body_bytes: int = Field(default=10 * 1024 * 1024, ge=1024, le=64 * 1024 * 1024)
    max_connections_per_address: int = Field(default=100, ge=1)
    drain_seconds: float = Field(default=5.0, ge=0, le=300)


class Admin(Section):
    """Metrics and nothing else; off the public port by design."""

    host: str = "127.0.0.1"
    port: Port = 9090


class Fal(Section):
    """The upstream. FAL_KEY itself comes from the environment (FAL_KEY or FAL_KEY_FILE)."""

    queue_origin: OriginText = "https://queue.fal.run"
    run_origin: OriginText = "https://fal.run"
    rest_origin: OriginText = "https://rest.fal.ai"
    ca_file: Path | None = None
    max_connections: int = Field(default=100, ge=1, le=10_000)
    connect_seconds: Seconds = 5.0
    submit_seconds: Seconds = 30.0
    poll_seconds: Seconds = 15.0


class Store(Section):
    """Where counts shared by workers live: this process's memory, or Redis/Valkey at the URL in *url_env*."""

    kind: Literal["memory", "redis"] = "memory"
    url_env: str = "FAL_PROXY_REDIS_URL"
    prefix: str = Field(default="fal-proxy:", pattern=r"^[A-Za-z0-9_.:-]{1,64}$")


class HandleSecrets(Section):
    """Comma-separated secrets in *secrets_env*, 32 bytes or more each: the first seals, all open."""

    secrets_env: str = "FAL_PROXY_HANDLE_SECRETS"


class Session(Section):
    """One issuer of session tokens and one of its keys: *secret_env* for HS256, *public_key_file* (PEM or JWK) else."""

    issuer: str = Field(min_length=1, max_length=256)
    audience: str = Field(min_length=1, max_length=256)
    algorithm: Literal["HS256", "RS256", "ES256", "EdDSA"]
    secret_env: str | None = None
    public_key_file: Path | None = None
    kid: str | None = Field(default=None, min_length=1, max_length=256)
    types: tuple[str, ...] = ("JWT", "at+jwt")
    leeway_seconds: float = Field(default=30.0, ge=0, le=120)
    max_lifetime_seconds: float = Field(default=86_400.0, gt=0)
    scope_claim: str = "scope"


class Endpoint(Section):
    """One model endpoint that callers may use; whatever is not listed is refused."""

    id: Annotated[str, AfterValidator(endpoint_id)]
    actions: tuple[Annotated[Action, AfterValidator(_offered)], ...] = DEFAULT_ACTIONS
    scope: str | None = None
    schema_file: Path | None = None
    force: dict[str, JsonValue] = Field(default_factory=dict)
    default: dict[str, JsonValue] = Field(default_factory=dict)
    cap: dict[str, Number] = Field(default_factory=dict)
    forbid: tuple[str, ...] = ()
    price: str | None = None


class LedgerSection(Section):
    """Where budgets, jobs in flight and idempotency keys are kept, and how reservations end.

    "sqlite" keeps them in *path* (":memory:" forgets them at the end), "redis" in the store, for several workers.
    """

    kind: Literal["sqlite", "redis"] = "sqlite"
    path: str = ":memory:"
    reservation_seconds: float = Field(default=86_400.0, ge=60, le=30 * 86_400)
    settle_by: Literal["price", "billable"] = "price"
    unit_price: float = Field(default=1.0, ge=0, le=1e6)
    refund_failed: bool = True
    idempotency_seconds: float = Field(default=86_400.0, ge=60, le=7 * 86_400)


class BudgetSection(Section):
    """So much in a window: "day" or "month" of *zone*, or the last *n* hours ("24h"). Units are the operator's."""

    name: Name
    per: Literal["user", "claim", "endpoint", "global"]
    window: str = Field(pattern=r"^(day|month|[1-9][0-9]{0,3}h)$")
    zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    limit: Units | None = None
    claim: str | None = None
    tiers: dict[str, Units] = Field(default_factory=dict)
    tier_claim: str | None = None
    endpoints: tuple[str, ...] = ()
    mode: Mode = "enforce"
    when_away: WhenAway = "deny"


class InFlightSection(Section):
    """So many unfinished jobs at once; a job nobody hears of frees its place after *lease_seconds*."""

    name: Name
    per: Literal["user", "global"]
    limit: int = Field(ge=1, le=1_000_000)
    lease_seconds: float = Field(default=3600.0, ge=10, le=7 * 86_400)
    endpoints: tuple[str, ...] = ()
    mode: Mode = "enforce"
    when_away: WhenAway = "deny"


class Limit(Section):
    """A short-window request limit, e.g. `rate = "30/minute"` (the notation of the `limits` library)."""

    name: Name
    per: Literal["user", "address"]
    actions: tuple[Action, ...] = Field(min_length=1)
    rate: Annotated[str, AfterValidator(_rate)]
    when_away: WhenAway = "deny"
    mode: Mode = "enforce"


# Polls have windows of their own: the Python client asks every 100 ms, and a cancel must never wait behind polls.
DEFAULT_LIMITS = (
    Limit(name="submit-user", per="user", actions=(Action.SUBMIT,), rate="30/minute"),
    Limit(name="submit-address", per="address", actions=(Action.SUBMIT,), rate="120/minute"),
    Limit(name="poll-user", per="user", actions=(Action.STATUS, Action.RESULT), rate="1200/minute", when_away="local"),
    Limit(name="cancel-user", per="user", actions=(Action.CANCEL,), rate="60/minute", when_away="local"),
)


class Document(Section):
    """The whole file; its JSON Schema is shipped as docs/config.schema.json."""

    server: Server
    admin: Admin = Admin()
    fal: Fal = Fal()
    store: Store = Store()
    handles: HandleSecrets = HandleSecrets()
    sessions: tuple[Session, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    limits: tuple[Limit, ...] = DEFAULT_LIMITS
    ledger: LedgerSection = LedgerSection()
    budgets: tuple[BudgetSection, ...] = ()
    in_flight: tuple[InFlightSection, ...] = ()
    webhooks: WebhooksSection = WebhooksSection()

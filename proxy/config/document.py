"""The tables of the configuration file, and what a section can be checked for alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, IPvAnyNetwork, JsonValue, ValidationInfo, field_validator

from proxy.billing.ledger.interface import WhenAway
from proxy.config.files import EndpointAction, Files, RealtimeSection, UploadsSection
from proxy.config.section import Section
from proxy.config.value_types import Mode, Name, Number, OriginText, Port, Rate, Seconds, Units, Zone
from proxy.config.webhooks import WebhooksSection
from proxy.fal_api.endpoint_ids import endpoint_id
from proxy.fal_api.operations import Action

FAL_MEDIA = ("https://v3.fal.media", "https://v3b.fal.media", "https://fal.media")
DEFAULT_ACTIONS = (Action.SUBMIT, Action.STATUS, Action.STATUS_STREAM, Action.RESULT, Action.CANCEL)


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
    hsts_seconds: int = Field(default=0, ge=0, le=2 * 366 * 86_400)

    @field_validator("hsts_seconds")
    @classmethod
    def _behind_tls(cls, seconds: int, info: ValidationInfo) -> int:
        if seconds and not str(info.data.get("public_origin", "https:")).startswith("https:"):
            raise ValueError("Strict-Transport-Security is for a public_origin with https (RFC 6797 section 7.2)")
        return seconds


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
    run_seconds: Seconds = 120.0


class StreamsSection(Section):
    """Answers that stay open. A stream ends after *max_seconds*, with its session, or after *idle_seconds* of fal's.

    Each takes two descriptors; *per_user* is counted in each worker, too. A caller hears a comment every
    *heartbeat_seconds* of silence.
    """

    per_user: int = Field(default=10, ge=1, le=10_000)
    per_worker: int = Field(default=500, ge=1, le=10_000)
    max_seconds: float = Field(default=3600.0, ge=1, le=86_400)
    heartbeat_seconds: float = Field(default=4.0, ge=0.1, le=5)
    idle_seconds: float = Field(default=90.0, ge=1, le=3600)


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


class CookieSection(Section):
    """A cookie that may bring the session token of pages of our own origin; the login service sets it, never we.

    Without this table no cookie is looked at; with it one counts only where no Authorization field is sent. *origins*
    are further ones at which this service is reached. A name without `__Host-` or `__Secure-`, which anyone on the
    network may set, takes *insecure_name*; only `__Host-` keeps other hosts of the domain from setting it.
    """

    insecure_name: bool = False
    name: str = Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$")
    origins: tuple[OriginText, ...] = ()

    @field_validator("name")
    @classmethod
    def _kept_from_neighbours(cls, name: str, info: ValidationInfo) -> str:
        if not name.startswith(("__Host-", "__Secure-")) and not info.data.get("insecure_name"):
            raise ValueError("must start with __Host- or __Secure-, or else insecure_name must be true")
        return name


class Endpoint(Section):
    """One model endpoint that callers may use; whatever is not listed is refused."""

    id: Annotated[str, AfterValidator(endpoint_id)]
    actions: tuple[EndpointAction, ...] = DEFAULT_ACTIONS
    scope: str | None = None
    schema_file: Path | None = None
    force: dict[str, JsonValue] = Field(default_factory=dict)
    default: dict[str, JsonValue] = Field(default_factory=dict)
    cap: dict[str, Number] = Field(default_factory=dict)
    forbid: tuple[str, ...] = ()
    files: Files = Files()
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
    zone: Zone = "UTC"
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
    rate: Rate
    when_away: WhenAway = "deny"
    mode: Mode = "enforce"


# Polls have windows of their own: the Python client asks every 100 ms, and a cancel must never wait behind polls.
DEFAULT_LIMITS = (
    Limit(name="submit-user", per="user", actions=(Action.SUBMIT,), rate="30/minute"),
    Limit(name="submit-address", per="address", actions=(Action.SUBMIT,), rate="120/minute"),
    Limit(name="run-user", per="user", actions=(Action.RUN, Action.RUN_STREAM), rate="30/minute"),
    Limit(name="run-address", per="address", actions=(Action.RUN, Action.RUN_STREAM), rate="120/minute"),
    Limit(name="poll-user", per="user", actions=(Action.STATUS, Action.RESULT), rate="1200/minute", when_away="local"),
    Limit(name="stream-user", per="user", actions=(Action.STATUS_STREAM,), rate="60/minute", when_away="local"),
    Limit(name="cancel-user", per="user", actions=(Action.CANCEL,), rate="60/minute", when_away="local"),
    Limit(name="upload-user", per="user", actions=(Action.UPLOAD,), rate="30/minute"),
    Limit(name="token-user", per="user", actions=(Action.TOKEN,), rate="10/minute"),
)


class Playground(Section):
    """The page at `/` that shows what a caller can do; on in `fal-proxy demo`. It shows pictures of *picture_hosts*,
    and sends uploads to, and saves results from, *upload_hosts*. *sandbox* says on it that no model runs here.
    """

    enabled: bool = False
    picture_hosts: tuple[OriginText, ...] = FAL_MEDIA
    upload_hosts: tuple[OriginText, ...] = FAL_MEDIA
    sandbox: bool = False


class Document(Section):
    """The whole file; its JSON Schema is shipped as docs/config.schema.json."""

    server: Server
    admin: Admin = Admin()
    fal: Fal = Fal()
    streams: StreamsSection = StreamsSection()
    store: Store = Store()
    handles: HandleSecrets = HandleSecrets()
    sessions: tuple[Session, ...] = ()
    cookie: CookieSection | None = None
    endpoints: tuple[Endpoint, ...] = ()
    uploads: UploadsSection | None = None
    realtime: RealtimeSection | None = None
    limits: tuple[Limit, ...] = DEFAULT_LIMITS
    ledger: LedgerSection = LedgerSection()
    budgets: tuple[BudgetSection, ...] = ()
    in_flight: tuple[InFlightSection, ...] = ()
    webhooks: WebhooksSection = WebhooksSection()
    playground: Playground = Playground()

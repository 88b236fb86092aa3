"""The [server], [admin], [log] and [tracing] tables: the two listeners, the journal and traces."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, IPvAnyNetwork, ValidationInfo, field_validator, model_validator

from proxy.config.value_types import MIB, OriginText, Port, Section

TWO_YEARS = 2 * 365 * 86_400  # seconds; what the preload list of browsers asks for

# The name of a header field (RFC 9110 section 5.1) in lower case.
FieldName = Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9a-z-]{1,64}$")]


class Server(Section):
    """The public listener, and the address at which browsers and apps reach it."""

    public_origin: OriginText = Field(
        description="Origin that callers use, as in `https://app.example.com`: the front proxy's, where there is one. "
        "It is never taken from a request.",
        examples=["https://app.example.com"],
    )
    prefix: str = Field(
        default="/api/fal",
        pattern=r"^(/[A-Za-z0-9._-]+)+$",
        description="Path under which all routes for callers are.",
        examples=["/api/fal"],
    )
    host: str = Field(
        default="127.0.0.1",
        description="Address to listen on. The default is reached from this machine alone; "
        "a container needs `0.0.0.0`.",
    )
    port: Port = Field(
        default=8080,
        description="TCP port to listen on; 0 takes a free one. Where the key is left out, the environment variable "
        "`PORT` is used, as Heroku, Railway, Render and Cloud Run set it.",
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        description="Host names, without a port, that the Host field of a request may name. Left out: every name.",
    )
    trusted_proxies: tuple[IPvAnyNetwork, ...] = Field(
        default=(),
        description="Networks of the front proxies whose forwarded address is used as the caller's address.",
        examples=["10.0.0.0/8"],
    )
    forwarded_header: Literal["x-forwarded-for", "x-real-ip"] = Field(
        default="x-forwarded-for",
        description="Header field in which a trusted front proxy sends the caller's address.",
    )
    cors_origins: tuple[OriginText, ...] = Field(
        default=(),
        description="Other origins whose pages may call the gateway. A page of `public_origin` needs no entry.",
    )
    cors_headers: tuple[FieldName, ...] = Field(
        default=(),
        description="Request header fields that such a page may send beside those of fal's clients and of tracing.",
        examples=["x-app-version"],
    )
    cors_expose: tuple[FieldName, ...] = Field(
        default=(),
        description="Response header fields that such a page may read beside those of the gateway.",
        examples=["server-timing"],
    )
    trusted_hops: int | None = Field(
        default=None,
        ge=1,
        le=16,
        description="Number of front proxies that append to `forwarded_header`, where their addresses are not known. "
        "It takes the place of `trusted_proxies`. A request with fewer addresses is refused, and "
        "`max_connections_per_address` does not apply.",
    )
    max_body_bytes: int = Field(
        default=10 * MIB, ge=1024, le=64 * MIB, description="Largest request body. A larger one is refused with 413."
    )
    max_connections_per_address: int = Field(
        default=100,
        ge=1,
        description="Most open connections of one client address. Connections of trusted proxies are not counted.",
    )
    drain_seconds: float = Field(
        default=0.0,
        ge=0,
        le=300,
        description="Time between the stop signal and the close of the listener. `/readyz` answers 503 meanwhile, "
        "so that a load balancer stops sending.",
    )
    hsts_seconds: int = Field(
        default=0,
        ge=0,
        le=TWO_YEARS,
        description="`max-age` of the Strict-Transport-Security field (RFC 6797); 0 sends none. "
        "It needs a `public_origin` with https.",
    )

    @model_validator(mode="after")
    def _one_kind_of_trust(self) -> Self:
        if self.trusted_hops is not None and self.trusted_proxies:
            raise ValueError("trusted_hops is for front proxies of unknown addresses: remove it or trusted_proxies")
        return self

    @field_validator("hsts_seconds")
    @classmethod
    def _behind_tls(cls, seconds: int, info: ValidationInfo) -> int:
        if seconds and not str(info.data.get("public_origin", "https:")).startswith("https:"):
            raise ValueError("Strict-Transport-Security is for a public_origin with https (RFC 6797 section 7.2)")
        return seconds


class Admin(Section):
    """The listener of metrics and of the operator page, apart from the public port and its callers."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: Port = Field(
        default=9090, description="TCP port to listen on; 0 takes a free one. It answers for all workers."
    )
    token_env: str | None = Field(
        default=None,
        description="Environment variable with a token of 32 characters or more, which the operator page at `/` then "
        "asks for. Without it the page is served on a loopback `host` only. `/metrics` needs no token.",
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        description="Host names, without a port, under which the operator page may be opened, beside `localhost`, "
        "`host` and IP addresses. A page of another name, which leads here by DNS, gets nothing.",
        examples=["gateway-admin.internal"],
    )
    show_users: bool = Field(
        default=False,
        description="Whether the operator page shows issuer and subject of recent users. They are kept in memory. "
        "Otherwise it shows the keys that `fal-proxy caller` prints.",
    )


class LogSection(Section):
    """Lines of the journal, which `serve` writes to standard output."""

    format: Literal["json", "text"] = Field(
        default="json",
        description='"json" writes one object a line. "text" is for a person at a terminal. '
        "`serve --log-format` wins over it.",
    )
    health_checks: bool = Field(
        default=False, description="Whether `/healthz` and `/readyz` get lines. One that fails always gets one."
    )
    successful_polls: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Share of successful status reads that get a line. The others are in the metrics alone.",
    )
    client_addresses: bool = Field(default=True, description="Whether lines have the address of the client.")


class TracingSection(Section):
    """Traces of OpenTelemetry, sent over OTLP/HTTP. It needs the extra `otel`."""

    enabled: bool = Field(
        default=False,
        description="Whether requests and calls to fal get spans. The standard variables `OTEL_*` apply, such as "
        "`OTEL_EXPORTER_OTLP_HEADERS` and `OTEL_SERVICE_NAME`.",
    )
    endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s/?#@]+(/[^\s?#@]*)?$",
        description="Base address of the collector; `/v1/traces` is appended. Where it is left out, "
        "`OTEL_EXPORTER_OTLP_ENDPOINT` is used, else `http://localhost:4318`.",
        examples=["http://127.0.0.1:4318"],
    )
    sample_ratio: float = Field(default=1.0, ge=0, le=1, description="Share of requests that are traced.")
    caller_context: Literal["ignore", "parent", "sampled"] = Field(
        default="parent",
        description="Use of a caller's `traceparent` and `tracestate`. \"parent\" makes the request's span a child of "
        'the caller\'s; `sample_ratio` decides alone whether it is recorded. "sampled" follows the sampled flag, too, '
        'so that every caller can fill your collector. "ignore" begins a new trace.',
    )
    callers: bool = Field(
        default=False,
        description="Whether spans have `enduser.pseudo.id`: the first 16 digits of the key that `fal-proxy caller` "
        "prints.",
    )

"""The [server] and [admin] tables: the public and the admin listener."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, IPvAnyNetwork, ValidationInfo, field_validator

from proxy.config.value_types import OriginText, Port, Section


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
    drain_seconds: float = Field(default=0.0, ge=0, le=300)
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

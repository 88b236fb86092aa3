"""The [[sessions]], [cookie] and [handles] tables: session tokens, the session cookie, secrets of job handles."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from proxy.config.value_types import OriginText, Section


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
    network may set, takes *allow_insecure_name*; only `__Host-` keeps other hosts of the domain from setting it.
    """

    allow_insecure_name: bool = False
    name: str = Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$")
    origins: tuple[OriginText, ...] = ()

    @field_validator("name")
    @classmethod
    def _kept_from_neighbours(cls, name: str, info: ValidationInfo) -> str:
        if not name.startswith(("__Host-", "__Secure-")) and not info.data.get("allow_insecure_name"):
            raise ValueError("must start with __Host- or __Secure-, or else allow_insecure_name must be true")
        return name


class HandleSecrets(Section):
    """Comma-separated secrets in *secrets_env*, 32 bytes or more each: the first seals, all open."""

    secrets_env: str = "FAL_PROXY_HANDLE_SECRETS"

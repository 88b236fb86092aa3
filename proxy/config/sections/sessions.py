"""The [[sessions]], [cookie] and [handles] tables: tokens, the cookie, secrets of job handles."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from proxy.config.value_types import DAY, OriginText, Section


class Session(Section):
    """An issuer of session tokens (JWTs) and one of its keys.

    Several tables may name one issuer with other keys.
    """

    issuer: str = Field(min_length=1, max_length=256, description="The token's `iss` claim, compared as it stands.")
    audience: str = Field(
        min_length=1, max_length=256, description="The token's `aud` claim, or one of its items where it is a list."
    )
    algorithm: Literal["HS256", "RS256", "ES256", "EdDSA"] = Field(
        description="The algorithm of the key. HS256 takes `secret_env`, the others `public_key_file`."
    )
    secret_env: str | None = Field(
        default=None,
        description="Environment variable that holds the HS256 secret of the login service, 32 bytes or more. "
        "The text is used as it is, without base64 decoding.",
    )
    public_key_file: Path | None = Field(default=None, description="File of the public key (PEM or JWK).")
    kid: str | None = Field(
        default=None,
        min_length=1,
        max_length=256,
        description="The key's id. Tokens must name it where the issuer has several keys.",
    )
    types: tuple[str, ...] = Field(
        default=("JWT", "at+jwt"), description="Values of the token's `typ` that are accepted; it may be left out."
    )
    leeway_seconds: float = Field(
        default=30.0, ge=0, le=120, description="Difference of clocks that is allowed for `exp`, `nbf` and `iat`."
    )
    max_lifetime_seconds: float = Field(
        default=float(DAY), gt=0, description="Longest time until `exp`. A token that lives longer is refused."
    )
    scope_claim: str = Field(
        default="scope", description="Claim that holds the token's scopes: a string with spaces, or a list."
    )


class CookieSection(Section):
    """A cookie that carries the session token of pages of the gateway's own origin.

    The login service sets it.

    Without this table cookies are ignored. With it the cookie is used where a request has no Authorization field.
    """

    allow_insecure_name: bool = Field(
        default=False,
        description="Allows a `name` without `__Host-` or `__Secure-`. "
        "Anyone on the network can set such a cookie over plain http.",
    )
    name: str = Field(
        pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$",
        description="Name of the cookie. `__Host-` at its start keeps other hosts of the domain from setting it.",
        examples=["__Host-session"],
    )
    origins: tuple[OriginText, ...] = Field(
        default=(), description="Further origins at which the gateway is reached, beside `server.public_origin`."
    )

    @field_validator("name")
    @classmethod
    def _check_name_prefix(cls, name: str, info: ValidationInfo) -> str:
        if not name.startswith(("__Host-", "__Secure-")) and not info.data.get("allow_insecure_name"):
            raise ValueError("must start with __Host- or __Secure-, or else allow_insecure_name must be true")
        return name


class HandleSecrets(Section):
    """Secrets of job handles, which bind a job to the user who started it."""

    secrets_env: str = Field(
        default="FAL_PROXY_HANDLE_SECRETS",
        description="Environment variable that holds the secrets, separated by commas, 32 bytes or more each. "
        "The first signs, all verify.",
    )

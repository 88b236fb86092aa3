"""The [[sessions]], [cookie] and [handles] tables: tokens, the cookie, secrets of job handles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, ValidationInfo, field_validator, model_validator

from proxy.auth.keys.algorithms import HMAC, PUBLIC
from proxy.auth.keys.fetch import check_key_url
from proxy.auth.sessions.issuer import PINS
from proxy.auth.sessions.presets import apply_preset
from proxy.config.value_types import DAY, OriginText, Section


def _algorithm(value: object) -> object:
    if value in ("HS384", "HS512"):
        raise ValueError(
            f"{value} is not accepted: sign with {HMAC}, the one algorithm for a secret, or with a public key"
        )
    return value


Algorithm = Annotated[
    Literal["HS256", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"],
    BeforeValidator(_algorithm),
]
PresetName = Literal["auth0", "clerk", "supabase", "firebase", "cognito", "keycloak", "logto", "entra"]


def _key_url(text: str) -> str:
    return check_key_url(text)


def _names(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class Session(Section):
    """An issuer of session tokens (JWTs), the place of its keys, and what its tokens must say.

    Several tables may name one issuer, with other audiences or keys; they share `subject_claim`. A token needs `iss`,
    `exp` and the subject. Claim paths are dotted, as in `realm_access.roles`.
    """

    preset: PresetName | None = Field(
        default=None,
        description="Identity provider whose settings fill this table. Keys that the table gives win.",
    )
    issuer: str = Field(
        min_length=1,
        max_length=256,
        description="The token's `iss` claim, compared as it stands. A claim in braces is filled in from the token, "
        "as in `https://login.microsoftonline.com/{tid}/v2.0`.",
    )
    require: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Claims that the token must have: a claim path, with the value or the list of allowed values "
        "(strings, whole numbers, true, false). Of a claim that is a list, one item must be allowed.",
    )
    forbid: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Claims that refuse the token: a claim path, with the value or the list of values. A token without "
        "the claim passes; an empty list lifts a preset's rule.",
        examples=[{"sts": "pending"}],
    )
    audience: Annotated[tuple[str, ...], BeforeValidator(_names)] = Field(
        default=(),
        validate_default=True,
        description="One or several values, of which the token's `aud` claim must name one. It may be left out only "
        "where `require` pins `azp`, `client_id`, `appid` or `cid`.",
        examples=["fal-proxy"],
    )
    algorithms: tuple[Algorithm, ...] = Field(
        default=(),
        description="Signature algorithms that are accepted. Left out, HS256 with `secret_env`, and any of the public "
        "ones else. HS256 and public keys never go together.",
    )
    algorithm: Algorithm | None = Field(default=None, description="Former name of `algorithms`, for a single one.")
    secret_env: str | None = Field(
        default=None,
        description="Environment variable that holds the HS256 secrets of the login service, separated by commas, "
        "32 bytes or more each: the first is current, all verify. The text is used as it is, without base64 decoding.",
    )
    public_key_file: Path | None = Field(
        default=None,
        description="File of public keys: PEM, X.509 certificate, JWK, JWK Set, or Google's map of certificates. "
        "It is read again when it changes.",
    )
    jwks_file: Path | None = Field(default=None, description="Another name of `public_key_file`, for a JWK Set.")
    jwks_url: Annotated[str, AfterValidator(_key_url)] | None = Field(
        default=None,
        description="URL of the issuer's JWK Set (https; http only to a loopback host). It is fetched every 5 minutes "
        "and for an unknown `kid`; the last good set holds for 24 hours.",
    )
    discovery: bool = Field(
        default=False,
        description="Finds the JWK Set by the issuer's OpenID configuration, `/.well-known/openid-configuration`.",
    )
    kid: str | None = Field(
        default=None,
        min_length=1,
        max_length=256,
        description="Id of the secret or of a single public key. A token that names another one is refused.",
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
    subject_claim: str = Field(
        default="sub", min_length=1, description="Path of the claim that identifies the user; a whole number counts."
    )
    scope_claim: str = Field(
        default="scope",
        min_length=1,
        description="Path of the claim that holds the scopes: a string with spaces, a list, or true.",
    )
    header: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9-]{1,64}$",
        description="Header field, in lower case, in which a front platform sends the token, beside `Authorization`. "
        "As with a cookie, other origins cannot use it.",
        examples=["cf-access-jwt-assertion"],
    )

    @property
    def accepted_algorithms(self) -> tuple[str, ...]:
        """The algorithms of this table, in the order of preference for a key that does not say its own."""
        listed = self.algorithms or (() if self.algorithm is None else (self.algorithm,))
        return listed or ((HMAC,) if self.secret_env else PUBLIC)

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, table: object) -> object:
        return apply_preset(table) if isinstance(table, dict) and table.get("preset") is not None else table

    @model_validator(mode="after")
    def _check_algorithm(self) -> Self:
        if self.algorithms and self.algorithm is not None:
            raise ValueError("algorithm is the former name of algorithms; give one of them")
        return self

    @field_validator("require", "forbid")
    @classmethod
    def _check_claims(cls, claims: dict[str, JsonValue], info: ValidationInfo) -> dict[str, JsonValue]:
        for path, value in claims.items():
            listed = value if isinstance(value, list) else [value]
            is_empty = not listed and info.field_name == "require"
            if not path or is_empty or not all(isinstance(item, str | int | bool) for item in listed):
                raise ValueError(f"{path or 'a path'} must have a string, a whole number, true or false, or a list")
        return claims

    @field_validator("audience")
    @classmethod
    def _check_audience(cls, audience: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not audience and "require" in info.data and not PINS & info.data["require"].keys():
            raise ValueError(f"is required, unless require pins one of {', '.join(sorted(PINS))}")
        return audience

    @field_validator("header")
    @classmethod
    def _check_header(cls, header: str | None) -> str | None:
        if header in ("authorization", "cookie"):
            raise ValueError("must be another field than authorization and cookie")
        return header


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

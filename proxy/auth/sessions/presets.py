"""Presets of identity providers: what their tokens look like and where their keys are, as a table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy.near_names import did_you_mean

KEY_SOURCES = ("secret_env", "public_key_file", "jwks_file", "jwks_url", "discovery")

_GOOGLE_KEYS = "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com"


@dataclass(frozen=True)
class Preset:
    """Settings that a provider's tokens need. Groups of *issuer* fill the templates in *keys* and *rules*.

    *keys* apply where the table names no key source of its own. *require* and *forbid* are added claim by claim,
    *needs* names what only the operator can give, and *example* is an issuer of the right form.
    """

    issuer: re.Pattern[str]
    example: str
    keys: Mapping[str, object]
    rules: Mapping[str, object] = field(default_factory=dict)
    require: Mapping[str, object] = field(default_factory=dict)
    forbid: Mapping[str, object] = field(default_factory=dict)
    needs: str = ""


PRESETS: Mapping[str, Preset] = {
    "auth0": Preset(
        issuer=re.compile(r"(?P<base>https://[^/]+)/"),
        example="https://example.eu.auth0.com/",
        keys={"jwks_url": "{base}/.well-known/jwks.json", "algorithms": ["RS256"]},
        needs="audience = the identifier of your API",
    ),
    "clerk": Preset(
        issuer=re.compile(r"(?P<base>https://[^/]+)"),
        example="https://clerk.example.com",
        keys={"jwks_url": "{base}/.well-known/jwks.json", "algorithms": ["RS256"]},
        # Clerk's own libraries treat a pending session as signed out; older tokens have no sts.
        forbid={"sts": "pending"},
        needs="require = { azp = [the origins of your app] }",
    ),
    "supabase": Preset(
        issuer=re.compile(r"(?P<base>https?://[^/]+/auth/v1)"),
        example="https://abcdefghijklmnopqrst.supabase.co/auth/v1",
        keys={"jwks_url": "{base}/.well-known/jwks.json", "algorithms": ["ES256", "RS256"]},
        rules={"audience": "authenticated"},
        # Anonymous sign-ins carry the same audience and role.
        require={"role": "authenticated", "is_anonymous": False},
    ),
    "firebase": Preset(
        issuer=re.compile(r"https://securetoken\.google\.com/(?P<project>[a-z0-9-]+)"),
        example="https://securetoken.google.com/my-project",
        keys={"jwks_url": _GOOGLE_KEYS, "algorithms": ["RS256"]},
        rules={"audience": "{project}"},
    ),
    "cognito": Preset(
        issuer=re.compile(r"(?P<base>https://cognito-idp\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?/[A-Za-z0-9_-]+)"),
        example="https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEf123",
        keys={"jwks_url": "{base}/.well-known/jwks.json", "algorithms": ["RS256"]},
        needs="require = { client_id = [...] } for access tokens, or audience = [...] for id tokens",
    ),
    "keycloak": Preset(
        issuer=re.compile(r"(?P<base>https?://.+/realms/[^/]+)"),
        example="https://login.example.com/realms/main",
        keys={"jwks_url": "{base}/protocol/openid-connect/certs", "algorithms": ["RS256", "ES256", "PS256"]},
        # Keycloak writes the kind of token into the claim typ: Bearer, ID, Refresh or Logout.
        require={"typ": "Bearer"},
        needs="audience, or require = { azp = [your client] }",
    ),
    "logto": Preset(
        issuer=re.compile(r"(?P<base>https?://.+/oidc)"),
        example="https://example.logto.app/oidc",
        keys={"jwks_url": "{base}/jwks", "algorithms": ["ES384", "RS256"]},
        needs="audience = the identifier of your API resource",
    ),
    "entra": Preset(
        issuer=re.compile(r"https://login\.microsoftonline\.com/(?P<tenant>[0-9a-f-]{36}|\{tid\})/v2\.0"),
        example="https://login.microsoftonline.com/72f988bf-0000-0000-0000-2d7cd011db47/v2.0",
        keys={
            "jwks_url": "https://login.microsoftonline.com/{directory}/discovery/v2.0/keys",
            "algorithms": ["RS256"],
        },
        rules={"scope_claim": "scp"},
        require={"ver": "2.0"},
        needs="audience = the application (client) id of your API",
    ),
}


def apply_preset(table: Mapping[str, object]) -> dict[str, object]:
    """Returns a [[sessions]] table with the settings of its `preset` filled in; what the table gives wins.

    Raises ValueError for an unknown preset, and for an issuer that is not of the provider's form.
    """
    preset = PRESETS.get(str(table.get("preset")))
    if preset is None:
        name = str(table.get("preset"))
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}{did_you_mean(name, PRESETS)}")
    match = preset.issuer.fullmatch(str(table.get("issuer", "")))
    if match is None:
        raise ValueError(f"the preset {table['preset']} needs an issuer as in {preset.example}")
    values = match.groupdict()
    if "tenant" in values:
        # One set of keys serves all tenants; a token's own tenant is only known once it is verified.
        values["directory"] = "common" if values["tenant"] == "{tid}" else values["tenant"]
    own_keys = any(name in table for name in KEY_SOURCES)
    defaults = dict(preset.rules) if own_keys else {**preset.keys, **preset.rules}
    if "algorithm" in table:
        defaults.pop("algorithms", None)
    filled = {name: _fill(value, values) for name, value in defaults.items()}
    rules = {"require": {**preset.require, **_token_use(table)}, "forbid": preset.forbid}
    return {**filled, **table, **{name: _merge(rule, table.get(name)) for name, rule in rules.items() if rule}}


def _merge(rules: Mapping[str, object], given: object) -> object:
    """Returns the preset's claims, under those that the table gives. Other values are checked later."""
    if given is None:
        return dict(rules)
    return {**rules, **given} if isinstance(given, dict) else given


def _token_use(table: Mapping[str, object]) -> dict[str, object]:
    """Returns the kind of Cognito token that the table means: only id tokens have an audience."""
    if table["preset"] != "cognito":
        return {}
    return {"token_use": "id" if "audience" in table else "access"}


def _fill(value: object, values: Mapping[str, str]) -> object:
    if not isinstance(value, str):
        return value
    for name, text in values.items():
        value = value.replace(f"{{{name}}}", text)
    return value

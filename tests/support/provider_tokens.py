"""Tokens in the shapes that identity providers issue, and the documented configuration for each."""

from __future__ import annotations

import re
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from proxy.strict_json import Json

GUIDE = Path(__file__).parents[2] / "docs" / "identity.md"
SESSION = "[[sessions]]"
AUDIENCE, ISSUER = "aud does not name", "not a configured issuer"
TENANT = "9188040d-6c67-4c5b-b112-36a304b66dad"


@dataclass(frozen=True)
class Shape:
    """Claims and header of a provider's token.

    *wrong* changes one claim each, so that the token must be refused; the second item is a part of the reason.
    """

    heading: str
    algorithm: str
    claims: dict[str, Json]
    header: dict[str, Json] = field(default_factory=dict)
    wrong: dict[str, tuple[dict[str, Json], str]] = field(default_factory=dict)
    block: int = 0


UUID = "1f3c8f5e-1d7a-4a5e-9c0b-2f6d7e8a9b0c"

SHAPES: dict[str, Shape] = {
    "auth0": Shape(
        "Auth0",
        "RS256",
        {
            "iss": "https://example.eu.auth0.com/",
            "sub": "auth0|5f7c8ec7c33c6c004bbafe82",
            "aud": ["https://api.example.com", "https://example.eu.auth0.com/userinfo"],
            "azp": "my_client_id_0123456789abcdefghi",
            "scope": "openid profile email",
            "permissions": [],
        },
        {"typ": "JWT"},
        {
            "other api": ({"aud": ["https://other.example.com"]}, AUDIENCE),
            "no slash": ({"iss": "https://example.eu.auth0.com"}, ISSUER),
        },
    ),
    "clerk": Shape(
        "Clerk",
        "RS256",
        {
            "azp": "https://app.example.com",
            "fva": [5, -1],
            "iss": "https://clerk.example.com",
            "jti": "2f8e0c1d3b4a59687786",
            "pla": "u:free",
            "sid": "sess_2abcDEFghiJKLmnoPQRstuVWXyz",
            "sts": "active",
            "sub": "user_2abcDEFghiJKLmnoPQRstuVWXyz",
            "v": 2,
        },
        {"typ": "JWT", "cat": "cl_B7d4PD111AAA"},
        {
            "other origin": ({"azp": "https://evil.example"}, "the claim azp"),
            "no azp": ({"azp": None}, "the claim azp"),
            "pending": ({"sts": "pending"}, "the claim sts has a forbidden value"),
        },
    ),
    "supabase": Shape(
        "Supabase",
        "ES256",
        {
            "aal": "aal1",
            "amr": [{"method": "password", "timestamp": 1_700_000_000}],
            "app_metadata": {"provider": "email", "providers": ["email"], "plan": "pro"},
            "aud": "authenticated",
            "email": "alice@example.com",
            "is_anonymous": False,
            "iss": "https://abcdefghijklmnopqrst.supabase.co/auth/v1",
            "phone": "",
            "role": "authenticated",
            "session_id": UUID,
            "sub": UUID,
            "user_metadata": {"email_verified": True},
        },
        {"typ": "JWT"},
        {
            "anonymous": ({"is_anonymous": True}, "the claim is_anonymous"),
            "no word on it": ({"is_anonymous": None}, "the claim is_anonymous"),
            "service role": ({"role": "service_role"}, "the claim role"),
            "anon key": ({"aud": "anon", "role": "anon"}, AUDIENCE),
        },
    ),
    "firebase": Shape(
        "Firebase and Identity Platform",
        "RS256",
        {
            "iss": "https://securetoken.google.com/my-project",
            "aud": "my-project",
            "auth_time": 1_700_000_000,
            "user_id": "Zx8Qm3kFh2VbN5sT7uYw1rPq9oL2",
            "sub": "Zx8Qm3kFh2VbN5sT7uYw1rPq9oL2",
            "email": "alice@example.com",
            "email_verified": True,
            "firebase": {"identities": {"email": ["alice@example.com"]}, "sign_in_provider": "password"},
        },
        {"typ": "JWT"},
        {
            "other project": ({"aud": "other"}, AUDIENCE),
            "other issuer": ({"iss": "https://securetoken.google.com/other"}, ISSUER),
            "not verified": ({"email_verified": False}, "the claim email_verified"),
        },
    ),
    "cognito-access": Shape(
        "Amazon Cognito",
        "RS256",
        {
            "sub": UUID,
            "cognito:groups": ["pro"],
            "iss": "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEf123",
            "version": 2,
            "client_id": "7example23456789",
            "origin_jti": UUID,
            "token_use": "access",
            "scope": "aws.cognito.signin.user.admin",
            "auth_time": 1_700_000_000,
            "jti": UUID,
            "username": "alice",
        },
        {"typ": None},
        {
            "other client": ({"client_id": "other"}, "the claim client_id"),
            "id token": ({"token_use": "id"}, "the claim token_use"),
            "no client": ({"client_id": None}, "the claim client_id"),
        },
    ),
    "keycloak": Shape(
        "Keycloak",
        "RS256",
        {
            "auth_time": 1_700_000_000,
            "jti": f"onrtac:{UUID}",
            "iss": "https://login.example.com/realms/main",
            "aud": "account",
            "sub": UUID,
            "typ": "Bearer",
            "azp": "web-app",
            "sid": UUID,
            "acr": "1",
            "allowed-origins": ["https://app.example.com"],
            "realm_access": {"roles": ["offline_access", "pro"]},
            "resource_access": {"account": {"roles": ["manage-account"]}},
            "scope": "openid profile email",
            "preferred_username": "alice",
        },
        {"typ": "JWT"},
        {
            "other client": ({"azp": "admin-cli"}, "the claim azp"),
            "id token": ({"typ": "ID"}, "the claim typ"),
            "lightweight": ({"sub": None}, "sub is not a string"),
        },
    ),
    "logto": Shape(
        "Logto",
        "ES384",
        {
            "jti": "K5zZ1nD6rq2VwXy7AbCdE",
            "sub": "u3k9z0x1y2w3",
            "scope": "read:images",
            "client_id": "abcdefghijklmnopqrstu",
            "iss": "https://example.logto.app/oidc",
            "aud": "https://api.example.com",
        },
        {"typ": "at+jwt"},
        {"other resource": ({"aud": "https://other.example.com"}, AUDIENCE)},
    ),
    "entra": Shape(
        "Microsoft Entra ID",
        "RS256",
        {
            "aud": "6e74172b-be56-4843-9ff4-e66a39bb12e3",
            "iss": f"https://login.microsoftonline.com/{TENANT}/v2.0",
            "aio": "AXQAi/8IAAAAtAaZLo3ChMif6KOnttRB7eBq4/DccQzjcJGxPYy",
            "azp": "6e74172b-be56-4843-9ff4-e66a39bb12e3",
            "azpacr": "0",
            "name": "Alice",
            "oid": "690222be-ff1a-4d56-abd1-7e4f7d38e474",
            "preferred_username": "alice@example.com",
            "scp": "access_as_user",
            "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ",
            "tid": TENANT,
            "uti": "fqiBqXLPj0eQa82S-IYFAA",
            "ver": "2.0",
        },
        {"typ": "JWT"},
        {
            "version 1": ({"ver": "1.0"}, "the claim ver"),
            "other api": ({"aud": "other"}, AUDIENCE),
            "other tenant": ({"iss": TENANT}, ISSUER),
        },
    ),
    "entra-tenants": Shape(
        "Microsoft Entra ID",
        "RS256",
        {
            "aud": "6e74172b-be56-4843-9ff4-e66a39bb12e3",
            "iss": f"https://login.microsoftonline.com/{TENANT}/v2.0",
            "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ",
            "scp": "access_as_user",
            "tid": TENANT,
            "ver": "2.0",
        },
        {"typ": "JWT"},
        {
            "another tenant": ({"tid": UUID, "iss": f"https://login.microsoftonline.com/{UUID}/v2.0"}, "the claim tid"),
            "tenants that differ": ({"tid": UUID}, ISSUER),
            "no tenant": ({"tid": None}, ISSUER),
            "a path in the tenant": (
                {"tid": f"{TENANT}/x", "iss": f"https://login.microsoftonline.com/{TENANT}/x/v2.0"},
                ISSUER,
            ),
            "no iss": ({"iss": None}, ISSUER),
        },
        block=1,
    ),
}


def documented(shape: Shape) -> dict[str, object]:
    """Returns the [[sessions]] table that the guide shows for the provider, as it is pasted."""
    _, _, rest = GUIDE.read_text(encoding="utf-8").partition(f"### {shape.heading}\n")
    section = re.split(r"^#{2,3} ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    block = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)[shape.block]
    table: dict[str, object] = tomllib.loads(block)["sessions"][0]
    return table


def claims(shape: Shape, **changes: Json) -> dict[str, Json]:
    """Returns the shape's claims, good for a minute; None leaves a claim out."""
    now = int(time.time())
    merged = {**shape.claims, "iat": now, "exp": now + 60, **changes}
    return {name: value for name, value in merged.items() if value is not None}

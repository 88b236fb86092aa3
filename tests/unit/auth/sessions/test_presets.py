"""Presets of identity providers, as documented, against tokens of the shapes they issue."""

from __future__ import annotations

import time
from pathlib import Path

import jwt
import pytest
from pydantic import ValidationError
from support.identities import Identifier
from support.identity_provider import SigningKey, signing_key
from support.in_process_gateway import ENVIRON, document
from support.provider_tokens import SHAPES, Shape, claims, documented

from proxy.app.setup.sessions import SessionBuilder
from proxy.auth.caller import Caller
from proxy.auth.sessions.issuer import Issuer
from proxy.auth.sessions.presets import PRESETS, apply_preset
from proxy.config.loader import read
from proxy.config.sections.sessions import Session
from proxy.errors import Unauthenticated
from proxy.strict_json import Json

CASES = [(name, wrong) for name, shape in SHAPES.items() for wrong in shape.wrong]


def issuer(table: dict[str, object], tmp_path: Path, key: SigningKey) -> Issuer:
    """Returns the issuer of *table*, with a key file in the place of the provider's address."""
    (tmp_path / "key.pem").write_bytes(key.public)
    filled = Session.model_validate(table).model_dump(exclude={"jwks_url", "preset"}, exclude_none=True)
    sessions = [{**filled, "public_key_file": "key.pem"}]
    config = read(document(sessions=sessions), ENVIRON, base=tmp_path)
    assert not config.problems
    return SessionBuilder(config).issuer(config.sessions[0])


def identify(shape: Shape, tmp_path: Path, **changes: Json) -> Caller:
    key = signing_key(shape.algorithm, "provider")
    private = jwt.get_algorithm_by_name(shape.algorithm).prepare_key(key.private)
    token = jwt.encode(
        claims(shape, **changes), private, algorithm=shape.algorithm, headers={"kid": key.kid, **shape.header}
    )
    identifier = Identifier([issuer(documented(shape), tmp_path, key)], clock=time.time)
    return identifier.identify([(b"authorization", b"Bearer " + token.encode())])


@pytest.mark.parametrize("name", SHAPES)
def test_the_documented_block_takes_the_providers_tokens(name: str, tmp_path: Path) -> None:
    """A token as the provider issues it is a session under the configuration that the guide shows."""
    shape = SHAPES[name]
    caller = identify(shape, tmp_path)

    assert caller.subject == shape.claims["sub"]
    assert caller.issuer == shape.claims["iss"]


@pytest.mark.parametrize(("name", "wrong"), CASES)
def test_what_the_preset_refuses(name: str, wrong: str, tmp_path: Path) -> None:
    """Tokens of other clients, kinds, tenants and users are refused."""
    shape = SHAPES[name]
    with pytest.raises(Unauthenticated):
        identify(shape, tmp_path, **shape.wrong[wrong][0])


def test_every_preset_has_a_shape() -> None:
    """No preset goes untested."""
    assert {str(documented(shape)["preset"]) for shape in SHAPES.values()} == set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_the_example_issuer_fits(name: str) -> None:
    """The issuer in the message of a preset is one that it takes, and its keys come by https."""
    filled = apply_preset({"preset": name, "issuer": PRESETS[name].example})

    assert str(filled["jwks_url"]).startswith("https://")
    assert "{" not in str(filled["jwks_url"])


def test_roles_and_scopes(tmp_path: Path) -> None:
    """Nested roles become scopes; Entra's scp is read without a setting."""
    assert identify(SHAPES["keycloak"], tmp_path).scopes == {"offline_access", "pro"}
    assert identify(SHAPES["entra"], tmp_path).scopes == {"access_as_user"}


def test_what_is_given_wins() -> None:
    """A table may change what its preset fills in, the key source with its algorithms too."""
    issuer = PRESETS["supabase"].example
    base: dict[str, object] = {"preset": "supabase", "issuer": issuer}

    assert apply_preset({**base, "audience": "other"})["audience"] == "other"
    assert apply_preset({**base, "require": {"is_anonymous": [True, False]}})["require"] == {
        "role": "authenticated",
        "is_anonymous": [True, False],
    }
    legacy = apply_preset({**base, "secret_env": "X"})
    assert not {"jwks_url", "algorithms"} & legacy.keys()


def test_a_forbidden_claim(tmp_path: Path) -> None:
    """A Clerk token without a status is a session, as older ones are; an empty list lets pending ones in."""
    shape = SHAPES["clerk"]
    base: dict[str, object] = {"preset": "clerk", "issuer": PRESETS["clerk"].example}

    assert identify(shape, tmp_path, sts=None).subject == shape.claims["sub"]
    assert apply_preset(base)["forbid"] == {"sts": "pending"}
    assert apply_preset({**base, "forbid": {"sts": []}})["forbid"] == {"sts": []}


def test_cognito_id_tokens() -> None:
    """With an audience the Cognito preset means id tokens, without one access tokens."""
    base: dict[str, object] = {"preset": "cognito", "issuer": PRESETS["cognito"].example}

    assert apply_preset({**base, "audience": "x"})["require"] == {"token_use": "id"}
    assert apply_preset(base)["require"] == {"token_use": "access"}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"preset": "auth0", "issuer": "https://example.eu.auth0.com"}, "needs an issuer as in https://example.eu"),
        ({"preset": "okta", "issuer": "https://x"}, "preset must be one of auth0"),
        ({"preset": "entra", "issuer": "https://sts.windows.net/x/"}, "needs an issuer as in"),
    ],
)
def test_mistakes(table: dict[str, object], message: str) -> None:
    """An unknown preset, and an issuer of another form, are refused with what would be right."""
    with pytest.raises(ValidationError, match=message):
        Session.model_validate(table)

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.identities import completed
from support.in_process_gateway import AUDIENCE, ENDPOINT, ENVIRON, ISSUER, document, small_components

from proxy.app.setup.components import Components, build_components
from proxy.config.loader import read
from proxy.errors import ConfigError

HMAC = {"issuer": ISSUER, "audience": AUDIENCE, "algorithm": "HS256", "secret_env": "SESSION_SECRET"}
EDDSA = {"issuer": ISSUER, "audience": AUDIENCE, "algorithm": "EdDSA", "public_key_file": "key.pem"}


def vetted(base: Path, environ: dict[str, str] | None = None, **sections: object) -> Components:
    return build_components(read(document(**sections), ENVIRON if environ is None else environ, base=base))


def problems(base: Path, environ: dict[str, str] | None = None, **sections: object) -> dict[str, str]:
    with pytest.raises(ConfigError) as refused:
        vetted(base, environ, **sections)
    return {problem.key: problem.message for problem in refused.value.problems}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A folder with a public key in it."""
    public = Ed25519PrivateKey.generate().public_key()
    (tmp_path / "key.pem").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return tmp_path


def test_a_good_configuration_becomes_parts() -> None:
    """One issuer, one listing, one policy; nothing of the key in a repr."""
    parts = small_components()

    assert (len(parts.issuers), len(parts.listings), len(parts.policies)) == (1, 1, 1)
    assert (parts.store, parts.tls) == (None, None)
    assert ENVIRON["FAL_KEY"] not in repr(parts)


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    """Secrets, keys, schemas, rules and rates are each tried, and each mistake stands at its key."""
    found = problems(
        tmp_path,
        {"FAL_KEY": "short", "SESSION_SECRET": "secret"},
        sessions=[HMAC, {**EDDSA, "issuer": "other"}],
        endpoints=[
            {"id": ENDPOINT, "forbid": ["no_such_field"]},
            {"id": "fal-ai/unknown/model"},
            {"id": ENDPOINT, "schema_file": "missing.json"},
        ],
        limits=[{"name": "x", "per": "user", "actions": ["submit"], "rate": "1/minute"}] * 2,
        store={"kind": "redis"},
        fal={"ca_file": "missing.pem"},
    )

    assert set(found) == {
        "FAL_KEY",
        "handles.secrets_env",
        "sessions[0].secret_env",
        "sessions[1].public_key_file",
        f"endpoints[0]: {ENDPOINT}.forbid.no_such_field",
        "endpoints[1]",
        "endpoints[2].id",
        f"endpoints[2]: {tmp_path / 'missing.json'}",
        "limits",
        "store.url_env",
        "fal.ca_file",
    }
    assert "short" not in found["FAL_KEY"]


@pytest.mark.parametrize(
    ("session", "words"),
    [
        ({**HMAC, "public_key_file": "key.pem"}, "not secret_env and public_key_file"),
        ({**EDDSA, "secret_env": "SESSION_SECRET"}, "not secret_env and public_key_file"),
        ({**EDDSA, "public_key_file": None}, "exactly one of secret_env, public_key_file"),
        ({**EDDSA, "public_key_file": None, "secret_env": "SESSION_SECRET"}, "HS256 takes secret_env"),
        ({**HMAC, "algorithm": None, "algorithms": ["HS256", "RS256"]}, "no other algorithm"),
        ({**EDDSA, "algorithm": "RS256"}, ""),
    ],
)
def test_a_key_of_the_wrong_kind_is_refused(base: Path, session: dict[str, object], words: str) -> None:
    """A shared secret and a public key are not to be confused."""
    assert any(words in message for message in problems(base, sessions=[session]).values())


def test_the_session_secret_must_not_be_the_fal_key(tmp_path: Path) -> None:
    """The fal key is refused as a session secret, since it would be known where sessions are verified."""
    key = "id:" + "0a1b2c3d4e5f" * 4
    environ = {**ENVIRON, "FAL_KEY": key, "SESSION_SECRET": key}

    assert "sessions[0].secret_env" in problems(tmp_path, environ)


def test_one_issuer_may_have_several_tables(base: Path) -> None:
    """Tables of one issuer are tried in their order, each with its own key and audience."""
    components = vetted(base, sessions=[{**EDDSA, "kid": "new"}, {**EDDSA, "kid": "old", "audience": "other"}])

    assert [key.kid for issuer in components.issuers for key in completed(issuer.keys.current())] == ["new", "old"]
    assert [issuer.audience for issuer in components.issuers] == [(EDDSA["audience"],), ("other",)]


def test_tables_of_one_issuer_must_agree(base: Path) -> None:
    """A shared secret beside a public key of the same issuer is refused at start."""
    messages = problems(base, sessions=[EDDSA, HMAC])

    assert "cannot serve one issuer" in messages["sessions"]


def test_nobody_could_call_without_an_issuer(tmp_path: Path) -> None:
    """A gateway without sessions is a mistake, not a way to switch them off."""
    assert "sessions" in problems(tmp_path, sessions=[])


def test_https_upstreams_are_verified(tmp_path: Path) -> None:
    """The default origin gets a TLS context that checks names and chains."""
    parts = vetted(tmp_path, fal={})

    assert parts.tls is not None
    assert (parts.tls.check_hostname, parts.tls.verify_mode) == (True, ssl.CERT_REQUIRED)


def test_a_redis_store_is_made_from_its_url(tmp_path: Path) -> None:
    """The URL is a secret and comes from the environment; a bad one is named without being shown."""
    environ = {**ENVIRON, "FAL_PROXY_REDIS_URL": "redis://127.0.0.1:6379/0"}
    bad = {**ENVIRON, "FAL_PROXY_REDIS_URL": "ftp://user:password@x"}

    assert vetted(tmp_path, environ, store={"kind": "redis"}).store is not None
    assert "password" not in problems(tmp_path, bad, store={"kind": "redis"})["store.url_env"]


@pytest.mark.parametrize(
    ("submit_seconds", "wrong"),
    [
        (59.0, set()),
        (60.0, {"ledger.reservation_seconds"}),
        (90.0, {"ledger.reservation_seconds", "in_flight[1].lease_seconds"}),
    ],
)
def test_what_is_held_for_a_submit_outlasts_it(tmp_path: Path, submit_seconds: float, wrong: set[str]) -> None:
    """A reservation or a lease must outlive the submit that it is for."""
    rule = {"per": "user", "limit": 1}
    sections: dict[str, Any] = {
        "fal": {"submit_seconds": submit_seconds},
        "ledger": {"reservation_seconds": 60},
        "in_flight": [{"name": "long", **rule}, {"name": "short", "lease_seconds": 90, **rule}],
    }
    if wrong:
        assert set(problems(tmp_path, **sections)) == wrong
    else:
        assert len(vetted(tmp_path, **sections).in_flight) == 2


def test_a_shared_ledger_needs_a_shared_store(tmp_path: Path) -> None:
    """A Redis ledger without a Redis store is an error, since each replica would count alone."""
    assert "store.kind must be redis" in problems(tmp_path, ENVIRON, ledger={"kind": "redis"})["ledger.kind"]


def test_what_is_held_outlasts_a_run(tmp_path: Path) -> None:
    """The deadline of runs counts where an endpoint lists runs, and only there."""
    in_flight = [{"name": "jobs", "per": "user", "limit": 1, "lease_seconds": 60}]
    runs = [{"id": ENDPOINT, "actions": ["submit", "run"]}]

    assert (
        "fal.run_seconds"
        in problems(tmp_path, ENVIRON, endpoints=runs, in_flight=in_flight)["in_flight[0].lease_seconds"]
    )
    assert vetted(tmp_path, ENVIRON, in_flight=in_flight).in_flight


@pytest.mark.parametrize(
    ("session", "words"),
    [
        ({"issuer": "my-app", "audience": "a", "discovery": True}, "must be an https URL"),
        ({"issuer": "http://login.example", "audience": "a", "discovery": True}, "http is for a loopback host"),
        ({"issuer": "https://x/{tid}", "audience": "a", "discovery": True}, "takes jwks_url"),
        ({"issuer": "i", "audience": "a", "jwks_url": "http://login.example/keys"}, "http is for a loopback host"),
        ({"issuer": "i", "jwks_url": "https://login.example/keys"}, "unless require pins one of"),
        ({"issuer": "i", "audience": "a"}, "exactly one of secret_env"),
    ],
)
def test_remote_keys_that_cannot_be(base: Path, session: dict[str, object], words: str) -> None:
    """A session table whose keys could never be fetched, or that admits every app, is refused at start."""
    assert any(words in message for message in problems(base, sessions=[session]).values())


@pytest.mark.parametrize(("value", "problem"), [(None, "the environment has no"), ("short", "32 to 512")])
def test_the_admin_token_is_checked(value: str | None, problem: str) -> None:
    """A missing or short token of the operator page is a problem of its key."""
    environ = ENVIRON if value is None else {**ENVIRON, "ADMIN_TOKEN": value}
    with pytest.raises(ConfigError) as raised:
        build_components(read(document(admin={"token_env": "ADMIN_TOKEN"}), environ, base=Path()))

    assert [one.key for one in raised.value.problems] == ["admin.token_env"]
    assert problem in raised.value.problems[0].message

"""The command `token`."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from proxy.app.setup.sessions import SessionBuilder
from proxy.auth.keys.algorithms import HMAC
from proxy.auth.keys.key_source import StaticKeys
from proxy.auth.keys.remote_keys import RemoteKeys
from proxy.auth.sessions.issuer import Issuer
from proxy.auth.token_minting import fitting_algorithm, mint, public_part
from proxy.auth.token_verifier import TokenVerifier, build_credential
from proxy.cli.options import CONFIG, load_config
from proxy.config.loader import Config, secret
from proxy.config.sections.sessions import Session
from proxy.errors import ConfigError, Problem, Unauthenticated
from proxy.strict_json import Json


@click.command()
@CONFIG
@click.option("--subject", required=True, help="The user that the token is for (the subject claim).")
@click.option("--lifetime", default=3600.0, show_default=True, help="Seconds until it expires.")
@click.option("--scope", "scopes", multiple=True, help="May be given several times.")
@click.option("--claim", "pairs", multiple=True, metavar="NAME=JSON", help="A further claim; dots make objects.")
@click.option("--private-key", type=click.Path(path_type=Path, exists=True), help="PEM or JWK; not for HS256.")
@click.option("--session", "index", default=0, show_default=True, help="Index of the [[sessions]] table.")
def token(
    config: Path,
    subject: str,
    lifetime: float,
    scopes: tuple[str, ...],
    pairs: tuple[str, ...],
    private_key: Path | None,
    index: int,
) -> None:
    """Mints a session token for development, as the app's login service does.

    Required claims are filled in. A token that CONFIG would refuse is not printed. Where the issuer's keys are remote,
    the signature is not compared with them.
    """
    loaded = load_config(config)
    location = f"sessions[{index}]"
    session = next((session for session in loaded.sessions if session.location == location), None)
    if session is None:
        raise ConfigError(loaded.problems or [Problem(location, "there is none")])
    algorithm, key = _signing_key(loaded, session, private_key)
    minted = mint(
        algorithm=algorithm,
        key=key,
        issuer=session.issuer,
        audience=session.audience[0] if session.audience else None,
        subject=subject,
        lifetime=lifetime,
        now=time.time(),
        kid=session.kid,
        scopes=scopes,
        claims=_claims([*_required(session), *map(_pair, pairs), (session.subject_claim, subject)]),
    )
    issuer = SessionBuilder(loaded).issuer(session)
    if isinstance(issuer.keys, RemoteKeys):
        issuer = replace(issuer, keys=StaticKeys((public_part(algorithm, key, session.kid),)))
    _check(issuer, minted, location)
    click.echo(minted)


def _signing_key(config: Config, session: Session, private_key: Path | None) -> tuple[str, bytes]:
    """Returns the algorithm and the key that sign; of several secrets the first is current."""
    if session.secret_env is not None:
        return HMAC, secret(config, session.secret_env).split(",")[0].strip().encode()
    if private_key is None:
        raise click.UsageError("a table with public keys needs --private-key")
    key = private_key.read_bytes()
    return fitting_algorithm(key, session.accepted_algorithms), key


def _required(session: Session) -> Sequence[tuple[str, Json]]:
    return [(path, value[0] if isinstance(value, list) else value) for path, value in session.require.items()]


def _pair(text: str) -> tuple[str, Json]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise click.UsageError(f"--claim takes NAME=JSON, not {text!r}")
    try:
        parsed: Json = json.loads(value)
    except json.JSONDecodeError:
        parsed = value
    return name, parsed


def _claims(values: Sequence[tuple[str, Json]]) -> dict[str, Json]:
    """Returns claims with each value at its dotted path; a name that is a URL has dots of its own."""
    claims: dict[str, Json] = {}
    for path, value in values:
        *parents, name = [path] if "://" in path else path.split(".")
        inner = claims
        for parent in parents:
            below = inner.setdefault(parent, {})
            if not isinstance(below, dict):
                raise click.UsageError(f"the claim {parent} is no object")
            inner = below
        inner[name] = value
    return claims


def _check(issuer: Issuer, minted: str, location: str) -> None:
    """Raises ConfigError with the reason why the gateway would refuse the token."""
    verifier = TokenVerifier([issuer], clock=time.time)
    try:
        asyncio.run(verifier.verify(verifier.parse(build_credential(minted.encode()))))
    except Unauthenticated as refusal:
        raise ConfigError([Problem(location, f"would refuse this token: {refusal.reason}")]) from refusal

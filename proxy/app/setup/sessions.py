"""Issuers of session tokens and their keys, built from [[sessions]] and [cookie] of a configuration."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from proxy.auth.keys.hmac_secret import hmac_key
from proxy.auth.keys.key_source import KeySource, StaticKeys
from proxy.auth.keys.public_key import public_key
from proxy.auth.sessions.issuer import Issuer
from proxy.auth.sessions.session_cookie import SessionCookie
from proxy.config.loader import Config, secret
from proxy.config.sections.sessions import Session


def build_issuer(config: Config, session: Session) -> Issuer:
    """Returns the issuer of *session*.

    Raises ValueError where a key is missing, weak or of the wrong kind.
    """
    types = tuple(kind.lower().removeprefix("application/") for kind in session.types)
    return Issuer(
        issuer=session.issuer,
        audience=(session.audience,),
        keys=_key_source(config, session),
        leeway=session.leeway_seconds,
        max_lifetime=session.max_lifetime_seconds,
        types=(*types, None),
        scope_claim=session.scope_claim,
    )


def build_origins(config: Config) -> frozenset[bytes]:
    """Returns the origins of the service itself, as browsers write them."""
    more = () if config.cookie is None else config.cookie.origins
    return frozenset(origin.encode("ascii") for origin in (config.server.public_origin, *more))


def build_session_cookie(config: Config) -> SessionCookie | None:
    """Returns the session cookie, None where none is configured."""
    if config.cookie is None:
        return None
    return SessionCookie(config.cookie.name.encode("ascii"), build_origins(config))


def _key_source(config: Config, session: Session) -> KeySource:
    if session.algorithm == "HS256":
        if session.secret_env is None or session.public_key_file is not None:
            raise ValueError("HS256 takes secret_env, and no public_key_file")
        return StaticKeys(
            (hmac_key(secret(config, session.secret_env).encode(), session.kid, forbidden=_other_secrets(config)),)
        )
    if session.public_key_file is None or session.secret_env is not None:
        raise ValueError(f"{session.algorithm} takes public_key_file, and no secret_env")
    return StaticKeys(
        (public_key(session.algorithm, _read_key_file(config.base / session.public_key_file), session.kid),)
    )


def _other_secrets(config: Config) -> list[bytes]:
    """Returns the secrets of other purposes, as far as they are set."""
    secrets: list[bytes] = []
    for name in ("FAL_KEY", config.handles.secrets_env):
        with suppress(ValueError):
            secrets += [part.encode() for part in secret(config, name).split(",") if part]
    return secrets


def _read_key_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error

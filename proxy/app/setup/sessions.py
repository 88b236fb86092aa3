"""Who may vouch for callers: issuers and their keys, made from [[sessions]] and [cookie] of a configuration."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from proxy.auth.authenticator import Issuer
from proxy.auth.keys import VerificationKey, hmac_key, public_key
from proxy.auth.session_cookie import SessionCookie
from proxy.config.loader import Config, secret
from proxy.config.sections.sessions import Session


def build_issuer(config: Config, session: Session, known: Issuer | None) -> Issuer:
    """The issuer of *session*; with the keys of *known* too, where that is the same issuer.

    Raises ValueError where a key is missing, weak or of the wrong kind, or the two do not agree.
    """
    types = tuple(kind.lower().removeprefix("application/") for kind in session.types)
    issuer = Issuer(
        issuer=session.issuer,
        audience=session.audience,
        keys=(_verification_key(config, session),),
        leeway=session.leeway_seconds,
        max_lifetime=session.max_lifetime_seconds,
        types=(*types, None),
        scope_claim=session.scope_claim,
    )
    return issuer if known is None else _merged(known, issuer)


def build_session_cookie(config: Config) -> SessionCookie | None:
    if config.cookie is None:
        return None
    origins = (config.server.public_origin, *config.cookie.origins)
    return SessionCookie(config.cookie.name.encode("ascii"), frozenset(origin.encode("ascii") for origin in origins))


def _verification_key(config: Config, session: Session) -> VerificationKey:
    if session.algorithm == "HS256":
        if session.secret_env is None or session.public_key_file is not None:
            raise ValueError("HS256 takes secret_env, and no public_key_file")
        return hmac_key(secret(config, session.secret_env).encode(), session.kid, forbidden=_taken(config))
    if session.public_key_file is None or session.secret_env is not None:
        raise ValueError(f"{session.algorithm} takes public_key_file, and no secret_env")
    return public_key(session.algorithm, _read_key_file(config.base / session.public_key_file), session.kid)


def _taken(config: Config) -> list[bytes]:
    """Secrets that open something else, where they are known."""
    taken: list[bytes] = []
    for name in ("FAL_KEY", config.handles.secrets_env):
        with suppress(ValueError):
            taken += [part.encode() for part in secret(config, name).split(",") if part]
    return taken


def _merged(known: Issuer, issuer: Issuer) -> Issuer:
    if {key.algorithm == "HS256" for key in (*known.keys, *issuer.keys)} == {True, False}:
        raise ValueError("one issuer must not mix a shared secret with public keys")
    if any(key.kid is None for key in (*known.keys, *issuer.keys)):
        raise ValueError("an issuer with several keys needs a kid for each")
    if issuer != replace(known, keys=issuer.keys):
        raise ValueError("the keys of one issuer must share audience, lifetimes, types and scope_claim")
    return replace(known, keys=(*known.keys, *issuer.keys))


def _read_key_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error

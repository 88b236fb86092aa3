"""The command `token`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from proxy.auth.token_minting import mint
from proxy.cli.options import CONFIG, load_config
from proxy.config.loader import secret
from proxy.errors import ConfigError, Problem


@click.command()
@CONFIG
@click.option("--subject", required=True, help="The user that the token is for (the claim sub).")
@click.option("--lifetime", default=3600.0, show_default=True, help="Seconds until it expires.")
@click.option("--scope", "scopes", multiple=True, help="May be given several times.")
@click.option("--private-key", type=click.Path(path_type=Path, exists=True), help="PEM or JWK; not for HS256.")
@click.option("--session", "index", default=0, show_default=True, help="Index of the [[sessions]] table.")
def token(
    config: Path, subject: str, lifetime: float, scopes: tuple[str, ...], private_key: Path | None, index: int
) -> None:
    """Mints a session token for development, as the app's login service does."""
    loaded = load_config(config)
    location = f"sessions[{index}]"
    session = next((session for session in loaded.sessions if session.location == location), None)
    if session is None:
        raise ConfigError(loaded.problems or [Problem(location, "there is none")])
    if session.secret_env is not None:
        key = secret(loaded, session.secret_env).encode()
    elif private_key is not None:
        key = private_key.read_bytes()
    else:
        raise click.UsageError(f"{session.algorithm} needs --private-key")
    click.echo(
        mint(
            algorithm=session.algorithm,
            key=key,
            issuer=session.issuer,
            audience=session.audience,
            subject=subject,
            lifetime=lifetime,
            now=time.time(),
            kid=session.kid,
            scopes=scopes,
        )
    )

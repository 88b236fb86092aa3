"""The command `explain`."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import click

from proxy.app.setup.components import Components, build_components
from proxy.auth.explanation import Check, explain_rules, explain_token
from proxy.auth.sessions.jws import MAX_TOKEN
from proxy.auth.token_verifier import TokenVerifier
from proxy.cli.options import CONFIG, load_config

_WIDTH = 11


@click.command()
@CONFIG
@click.option("--endpoint", help="Also checks scope and claims for this listed endpoint.")
def explain(config: Path, endpoint: str | None) -> None:
    """Shows each check of a session token with its result and the claim it looked at.

    The token is read from standard input, with or without `Bearer`, and is never printed. Remote keys are fetched.
    """
    components = build_components(load_config(config))
    text = sys.stdin.buffer.read(2 * MAX_TOKEN).strip()
    scheme, _, rest = text.partition(b" ")
    token = rest.strip() if scheme.lower() in (b"bearer", b"key") else text
    checks = asyncio.run(_explain(components, token, endpoint))
    for check in checks:
        state = "ok" if check.passed else "refused" if check.passed is False else "skipped"
        click.echo(f"{state:8} {check.name:{_WIDTH}} {check.detail}")
    if any(check.passed is False for check in checks):
        click.get_current_context().exit(1)


async def _explain(components: Components, token: bytes, endpoint: str | None) -> list[Check]:
    verifier = TokenVerifier(components.issuers, clock=time.time)
    checks, caller = await explain_token(verifier, token, time.time())
    if endpoint is not None:
        checks += explain_rules(components.listings, endpoint, caller)
    for keys in components.sessions.remote_keys:
        await keys.aclose()
    return checks

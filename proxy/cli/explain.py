"""The command `explain`."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

from proxy.app.setup.components import Components, build_components
from proxy.auth.explanation import Check, explain_rules, explain_token
from proxy.auth.sessions.jws import MAX_TOKEN
from proxy.auth.token_verifier import TokenVerifier
from proxy.billing.ledger.money import MICRO
from proxy.cli.options import CONFIG, load_config
from proxy.config.sections.endpoints import Endpoint
from proxy.errors import BadRequest, ConfigError, ContentTooLarge, Problem, ValidationFailed
from proxy.payload.body import parse_payload
from proxy.strict_json import Json

_WIDTH = 11


@click.command()
@CONFIG
@click.option("--endpoint", help="A listed endpoint: also checks scope and claims for it.")
@click.option("--payload", type=click.Path(path_type=Path, exists=True), help="With --endpoint: checks this JSON file.")
@click.option("--no-token", is_flag=True, help="Checks the payload alone, and reads no token.")
def explain(config: Path, endpoint: str | None, payload: Path | None, no_token: bool) -> None:
    """Shows each check of a session token with its result and the claim it looked at.

    The token is read from standard input, with or without `Bearer`, and is never printed. Remote keys are fetched.
    With --payload each payload rule of the endpoint, the schema and the price follow.
    """
    if payload is not None and endpoint is None:
        raise click.UsageError("--payload takes --endpoint")
    components = build_components(load_config(config))
    checks = [] if no_token else asyncio.run(_explain_token(components, _read_token(), endpoint))
    if payload is not None and endpoint is not None:
        checks += _explain_payload(components, endpoint, payload.read_bytes())
    for check in checks:
        state = "ok" if check.passed else "refused" if check.passed is False else "skipped"
        click.echo(f"{state:8} {check.name:{_WIDTH}} {check.detail}")
    if any(check.passed is False for check in checks):
        click.get_current_context().exit(1)


def _read_token() -> bytes:
    text = sys.stdin.buffer.read(2 * MAX_TOKEN).strip()
    scheme, _, rest = text.partition(b" ")
    return rest.strip() if scheme.lower() in (b"bearer", b"key") else text


async def _explain_token(components: Components, token: bytes, endpoint: str | None) -> list[Check]:
    verifier = TokenVerifier(components.issuers, clock=time.time)
    checks, caller = await explain_token(verifier, token, time.time())
    if endpoint is not None:
        checks += explain_rules(components.listings, endpoint, caller)
    for keys in components.sessions.remote_keys:
        await keys.aclose()
    return checks


def _explain_payload(components: Components, endpoint: str, body: bytes) -> list[Check]:
    """Returns a check for each rule of the endpoint, one for each fault, and the price.

    Raises ConfigError.
    """
    section = next((section for section in components.config.endpoints if section.id == endpoint), None)
    policy = next((policy for policy in components.policies if policy.endpoint == endpoint), None)
    if section is None or policy is None:
        raise ConfigError([Problem("endpoints", f"{endpoint} is not listed")])
    try:
        value = parse_payload(body, max_elements=section.max_elements)
    except (BadRequest, ContentTooLarge) as refusal:
        return [Check("json", False, str(refusal.detail))]
    checks = [Check("json", True, f"{len(body)} bytes"), *_rules(section, value if isinstance(value, dict) else {})]
    try:
        admitted = policy.admit(body)
    except ValidationFailed as refusal:
        return [*checks, *(Check("schema", False, f"{_place(e['loc'])}: {e['msg']}") for e in refusal.detail)]
    checks.append(Check("schema", True, f"sent as {admitted.raw.decode()[:200]}"))
    price = components.prices.get(endpoint)
    if price is None:
        return [*checks, Check("price", True, "none")]
    try:
        return [*checks, Check("price", True, f"{price.evaluate(admitted.value) / MICRO:g} units")]
    except ValidationFailed as refusal:
        return [*checks, Check("price", False, str(refusal.detail[0]["msg"]))]


def _rules(section: Endpoint, value: dict[str, Json]) -> Iterator[Check]:
    for name, forced in section.force.items():
        yield Check("force", True, f"{name} = {json.dumps(forced)}, given: {_given(value, name)}")
    for name, default in section.default.items():
        yield Check("default", True, f"{name} = {json.dumps(default)}, given: {_given(value, name)}")
    for name, limit in section.cap.items():
        given = value.get(name)
        size = len(given) if isinstance(given, str | list) else given
        over = isinstance(size, int | float) and isinstance(limit, int | float) and size > limit
        yield Check("cap", not over, f"{name} at most {limit}, given: {_given(value, name)}")
    for name in section.forbid:
        yield Check("forbid", name not in value, f"{name}, given: {_given(value, name)}")


def _given(value: dict[str, Json], name: str) -> str:
    return json.dumps(value[name])[:60] if name in value else "nothing"


def _place(location: list[str | int]) -> str:
    return ".".join(str(step) for step in location)

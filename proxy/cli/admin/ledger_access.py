"""Access of commands to the ledger: through the running gateway, in its stopped file, or in Redis."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from pathlib import Path

import click

from proxy.app.operator.ledger_socket import send_step
from proxy.app.operator.operator_steps import OperatorSteps
from proxy.app.setup.billing.ledgers import MEMORY, build_ledger
from proxy.app.setup.billing.privacy import build_store_keys
from proxy.app.setup.components import build_components
from proxy.auth.caller import caller_key
from proxy.auth.sessions.guest_sessions import GUEST_ISSUER
from proxy.billing.ledger.interface import Ledger
from proxy.billing.ledger.sqlite_ledger import SqliteLedger
from proxy.cli.options import CONFIG_VARIABLE, DEFAULT_CONFIG
from proxy.config.loader import Config
from proxy.errors import ConfigError, Problem
from proxy.near_names import did_you_mean
from proxy.strict_json import Json

CONFIG_OPTION = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar=CONFIG_VARIABLE,
    default=DEFAULT_CONFIG,
    show_default=True,
    help="The configuration of the gateway.",
)


def ledger_path(config: Config) -> str:
    """Returns the path of the ledger's file.

    Raises ValueError for a ledger in memory, which keeps nothing.
    """
    if config.ledger.path == MEMORY:
        raise ValueError('ledger.path is ":memory:": such a ledger keeps nothing, and commands cannot reach it')
    return str(config.base / config.ledger.path)


def open_ledger(config: Config) -> Ledger:
    """Returns the ledger of *config*, not started. Raises ValueError where its file is missing."""
    if config.ledger.kind == "redis":
        return build_ledger(build_components(config), is_command=True)
    path = ledger_path(config)
    if not Path(path).exists():
        raise ValueError(f"there is no ledger {path}")
    return SqliteLedger(path, lock_seconds=0)


def take_step(config: Config, step: str, **fields: Json) -> Json:
    """Takes one step of `OperatorSteps` where the ledger is now, and returns its result.

    Raises ValueError, OSError.
    """
    return asyncio.run(_take_step(config, step, fields))


async def _take_step(config: Config, step: str, fields: dict[str, Json]) -> Json:
    if config.ledger.kind == "sqlite":
        with suppress(FileNotFoundError, ConnectionRefusedError):
            return as_json(await send_step(f"{ledger_path(config)}.sock", step, fields))
    ledger = open_ledger(config)
    try:
        await ledger.start(now=time.time())
        return await OperatorSteps(ledger, time.time).run(step, fields)
    finally:
        await ledger.aclose()


def store_key(config: Config, issuer: str, subject: str) -> str:
    """Returns the key of a caller in stores."""
    return build_store_keys(config).key(caller_key(issuer, subject))


def user_key(config: Config, issuer: str, subject: str) -> str:
    """Returns the key in stores of a user of a configured issuer. Raises ConfigError."""
    check_issuer(config, issuer)
    return store_key(config, issuer, subject)


def check_issuer(config: Config, issuer: str) -> None:
    """Raises ConfigError for an issuer without a [[sessions]] table: its users cannot call."""
    issuers = [session.issuer for session in config.sessions]
    if issuer in issuers or issuer == GUEST_ISSUER or any("{" in pattern for pattern in issuers):
        return
    raise ConfigError([Problem("sessions", f"none has the issuer {issuer}{did_you_mean(issuer, issuers)}")])


def as_json(value: object) -> Json:
    """Returns *value*, which came out of JSON, as what it is."""
    parsed: Json = json.loads(json.dumps(value))
    return parsed

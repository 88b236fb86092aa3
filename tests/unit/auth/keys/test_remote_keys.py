"""Key sets that a provider publishes: fetched ahead of need, bounded, and held while it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from starlette.responses import Response
from support.identity_provider import FAULTS, IdentityProvider, signing_key
from support.sandbox import Clock, bound, origin, served, until

from proxy.auth.keys import remote_keys as module
from proxy.auth.keys.fetch import check_key_url, jwks_url_from_discovery
from proxy.auth.keys.key_cache import MAX_STALE, CachedDocument, FileKeyCache, KeyCache, MemoryKeyCache
from proxy.auth.keys.key_document import parse_key_document
from proxy.auth.keys.remote_keys import REGAIN, RESERVE, UNKNOWN_TTL, JwksSource, RemoteKeys
from proxy.errors import Unavailable
from proxy.http.client.tls import tls_context

FIRST, SECOND = signing_key("ES256", "first"), signing_key("ES256", "second")


@dataclass
class Setup:
    """A provider on a real socket, and keys that are fetched from it."""

    provider: IdentityProvider
    keys: RemoteKeys
    clock: Clock
    now: Clock
    lines: list[str] = field(default_factory=list)

    async def kids(self) -> list[str | None]:
        return [key.kid for key in await self.keys.current()]


def modes(folder: Path) -> list[int]:
    return [file.stat().st_mode for file in folder.iterdir()]


def spoil(folder: Path) -> None:
    for file in folder.iterdir():
        file.write_bytes(b"garbage")


@asynccontextmanager
async def remote(cache: KeyCache | None = None, *, discovery: bool = False) -> AsyncIterator[Setup]:
    (listener,) = bound()
    provider = IdentityProvider(origin(listener), [FIRST])
    async with served({listener: provider.app}):
        yield (setup := build(provider, cache or MemoryKeyCache(), discovery=discovery))
        await setup.keys.aclose()


def build(provider: IdentityProvider, cache: KeyCache, *, discovery: bool = False) -> Setup:
    clock, now, lines = Clock(), Clock(), list[str]()
    url = None if discovery else f"{provider.issuer}/keys"
    keys = RemoteKeys(
        JwksSource(url=url, issuer=provider.issuer, tls=tls_context()),
        partial(parse_key_document, algorithms=("ES256", "RS256")),
        cache=cache,
        clock=clock,
        now=now,
        report=lines.append,
    )
    return Setup(provider, keys, clock, now, lines)


@pytest.mark.parametrize("discovery", [False, True])
async def test_the_first_token_waits_for_the_first_set(discovery: bool) -> None:
    """Keys come by their URL or by discovery; tokens that arrive meanwhile share the one fetch."""
    async with remote(discovery=discovery) as it:
        usable_before = it.keys.usable
        answers = await asyncio.gather(*(it.kids() for _ in range(20)))

    assert not usable_before
    assert answers == [["first"]] * 20
    assert it.provider.fetches == 1
    assert "added" in it.lines[0]


async def test_an_unknown_kid_is_fetched() -> None:
    """A new key is found with the first token that has it, however many tokens ask at once."""
    async with remote() as it:
        await it.kids()
        it.provider.rotate(SECOND)
        await asyncio.gather(*(it.keys.refresh("second") for _ in range(20)))
        kids = await it.kids()

    assert kids == ["first", "second"]
    assert it.provider.fetches == 2


async def test_unknown_kids_cause_few_fetches() -> None:
    """Ten thousand unknown kids use up the reserve, which is regained one fetch in thirty seconds."""
    async with remote() as it:
        await it.kids()
        certain = [await it.keys.refresh(f"kid-{number}") for number in range(10_000)]
        during = it.provider.fetches
        it.clock.forward(REGAIN)
        it.provider.rotate(SECOND)
        await it.keys.refresh("second")
        kids = await it.kids()

    assert not any(certain)
    assert during == 1 + RESERVE
    assert kids == ["first", "second"]
    assert it.provider.fetches == 1 + RESERVE + 1


async def test_a_kid_that_was_not_there_is_not_looked_for_at_once() -> None:
    """The same unknown kid costs one fetch in two seconds, so that it cannot use up the reserve alone."""
    async with remote() as it:
        await it.kids()
        for _ in range(5):
            await it.keys.refresh("typo")
        during = it.provider.fetches
        it.clock.forward(UNKNOWN_TTL)
        await it.keys.refresh("typo")

    assert during == 2
    assert it.provider.fetches == 3


async def test_a_known_kid_is_not_fetched() -> None:
    """A token with a known kid and another algorithm is wrong for certain, and costs no fetch."""
    async with remote() as it:
        await it.kids()
        certain = await it.keys.refresh("first")

    assert certain
    assert it.provider.fetches == 1


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_provider_that_fails_changes_nothing(fault: Callable[[], Response]) -> None:
    """The last good set holds for 24 hours, and then no token is verified until there is a new one."""
    async with remote() as it:
        await it.kids()
        states = [it.keys.state]
        it.provider.fault = fault
        await it.keys.refresh("second")
        during = await it.kids()
        states.append(it.keys.state)
        it.now.forward(MAX_STALE + 1)
        with pytest.raises(Unavailable) as refused:
            await it.kids()
        states.append(it.keys.state)

    assert during == ["first"]
    assert states == ["ok", "not refreshed; the last good set holds", "too old"]
    assert refused.value.error_type == "keys_unavailable"
    assert not it.keys.usable
    assert it.keys.failures == 1
    assert "was not read" in it.lines[-1]


async def test_a_slow_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fetch that takes too long is given up, and known keys verify meanwhile."""
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    async with remote() as it:
        await it.kids()
        it.provider.delay = 2
        waiting = asyncio.create_task(it.keys.refresh("second"))
        await until(lambda: it.provider.fetches == 2)
        meanwhile = await it.kids()
        await waiting

    assert meanwhile == ["first"]
    assert it.keys.failures == 1


async def test_nobody_is_there_at_the_start() -> None:
    """Without any set tokens are refused as unavailable, and do not wait for the retries."""
    (listener,) = bound()
    provider = IdentityProvider(origin(listener), [FIRST])
    listener.close()
    it = build(provider, MemoryKeyCache())
    for _ in range(3):
        with pytest.raises(Unavailable):
            await it.kids()
    await it.keys.aclose()

    assert it.keys.fetches == 1


async def test_a_restart_while_the_provider_is_down(tmp_path: Path) -> None:
    """The last good set is read from beside the ledger, mode 0600, and holds for the rest of its 24 hours."""
    cache = FileKeyCache(tmp_path / "ledger.db")
    async with remote(cache) as it:
        await it.kids()
        await until(lambda: modes(tmp_path))
        it.provider.fault = FAULTS["down"]
        again, late = build(it.provider, cache), build(it.provider, cache)
        late.now.forward(MAX_STALE + 1)
        kids = await again.kids()
        with pytest.raises(Unavailable):
            await late.kids()
        await again.keys.aclose()
        await late.keys.aclose()

    assert kids == ["first"]
    assert [mode & 0o777 for mode in modes(tmp_path)] == [0o600]


async def test_the_cached_set_does_not_wait_for_the_provider(tmp_path: Path) -> None:
    """After a restart tokens are verified with the cached set before a slow provider answers."""
    cache = FileKeyCache(tmp_path / "ledger.db")
    async with remote(cache) as it:
        await it.kids()
        await until(lambda: modes(tmp_path))
        it.provider.delay = 3
        again = build(it.provider, cache)
        async with asyncio.timeout(2):
            kids = await again.kids()
        await again.keys.aclose()

    assert kids == ["first"]


async def test_the_version_changes_with_the_keys() -> None:
    """A refresh that brings the same set changes nothing; a rotation does."""
    async with remote() as it:
        await it.kids()
        first = it.keys.version
        await it.keys.refresh("typo")
        same = it.keys.version
        it.provider.rotate(SECOND)
        await it.keys.refresh("second")

    assert same == first
    assert it.keys.version == first + 1


async def test_a_damaged_cache(tmp_path: Path) -> None:
    """A cache that cannot be read is reported, and the provider's own answer counts."""
    cache = FileKeyCache(tmp_path / "ledger.db")
    async with remote(cache) as it:
        await cache.save(it.keys.source.name, CachedDocument(0, b"{}"))
        spoil(tmp_path)
        kids = await it.kids()

    assert kids == ["first"]
    assert "could not be read" in it.lines[0]


@pytest.mark.parametrize(
    "url",
    [
        "http://login.example.com/keys",
        "https://user@login.example.com/keys",
        "https://login.example.com/keys#a",
        "ftp://login.example.com/keys",
        "https://login.example.com/a b",
        "file:///etc/passwd",
        "",
    ],
)
def test_urls_that_are_no_source(url: str) -> None:
    """Keys are fetched by https alone, and from a URL that has one reading."""
    with pytest.raises(ValueError, match=r"must be|http is for"):
        check_key_url(url)


def test_urls_that_are() -> None:
    """Https to any host, and http to a loopback host for development."""
    for url in ("https://login.example.com/a/b?c=d", "http://127.0.0.1:8080/keys", "http://localhost/keys"):
        assert check_key_url(url) == url


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b'{"issuer": "https://other.example", "jwks_uri": "https://other.example/keys"}', "not that of the issuer"),
        (b'{"issuer": "https://login.example"}', "has no jwks_uri"),
        (b'{"issuer": "https://login.example", "jwks_uri": "http://login.example/keys"}', "http is for a loopback"),
        (b"<html>", "not strict JSON"),
        (b"[]", "not that of the issuer"),
    ],
)
def test_discovery_of_another_issuer(document: bytes, message: str) -> None:
    """An OpenID configuration must be the issuer's own, and lead to an address that keys may come from."""
    with pytest.raises(ValueError, match=message):
        jwks_url_from_discovery(document, "https://login.example")

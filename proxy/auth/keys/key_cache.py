"""Cache of the last good key sets, for a restart while an identity provider is down."""

from __future__ import annotations

import asyncio
import contextlib
import os
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Protocol

import orjson

from proxy.storage.redis_client import RedisStore, Script

MAX_STALE = 86_400.0  # seconds for which a set holds after its last successful fetch


class CachedDocument(NamedTuple):
    """Key document and the time of its fetch, in seconds since the epoch."""

    fetched: float
    document: bytes


class KeyCache(Protocol):
    """Place for the last good document of each source.

    Raises OSError, StoreAway or ValueError where it is away.
    """

    async def load(self, source: str) -> CachedDocument | None:
        """Returns the document of *source*, None where there is none."""
        ...

    async def save(self, source: str, cached: CachedDocument) -> None:
        """Replaces the document of *source*."""
        ...


class MemoryKeyCache:
    """Cache of one process: for a gateway whose ledger is in memory, which has no place beside it."""

    def __init__(self) -> None:
        self._documents: dict[str, CachedDocument] = {}

    async def load(self, source: str) -> CachedDocument | None:
        """Returns the document of *source*."""
        return self._documents.get(source)

    async def save(self, source: str, cached: CachedDocument) -> None:
        """Replaces the document of *source*."""
        self._documents[source] = cached


class FileKeyCache:
    """Cache in files beside the ledger: *base* with `.keys-` and a digest of the source added. Mode 0600."""

    def __init__(self, base: Path) -> None:
        self._base = base

    async def load(self, source: str) -> CachedDocument | None:
        """Returns the document of *source*. Raises OSError and ValueError for a file that cannot be used."""
        path = self._path(source)
        try:
            content = await asyncio.to_thread(path.read_bytes)
        except FileNotFoundError:
            return None
        return _decode(content)

    async def save(self, source: str, cached: CachedDocument) -> None:
        """Replaces the file in one step. Raises OSError."""
        await asyncio.to_thread(_replace, self._path(source), _encode(cached))

    def _path(self, source: str) -> Path:
        return self._base.with_name(f"{self._base.name}.keys-{_digest(source)}")


class RedisKeyCache:
    """Cache in the shared store; entries expire after MAX_STALE seconds."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store

    async def load(self, source: str) -> CachedDocument | None:
        """Returns the document of *source*. Raises StoreAway and ValueError."""
        content = await self._store.run(_GET, [f"keys:{_digest(source)}"], [])
        return _decode(content) if isinstance(content, bytes) else None

    async def save(self, source: str, cached: CachedDocument) -> None:
        """Replaces the entry. Raises StoreAway."""
        await self._store.run(_SET, [f"keys:{_digest(source)}"], [_encode(cached), int(MAX_STALE)])


_GET = Script("return redis.call('GET', KEYS[1])")
_SET = Script("return redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])")


def _digest(source: str) -> str:
    return sha256(source.encode()).hexdigest()[:16]


def _encode(cached: CachedDocument) -> bytes:
    return orjson.dumps({"fetched": cached.fetched, "document": cached.document.decode("utf-8")})


def _decode(content: bytes) -> CachedDocument:
    value = orjson.loads(content)
    if not isinstance(value, dict) or not isinstance(value.get("document"), str):
        raise ValueError("not a cached key document")  # noqa: TRY004 a fault of the file
    return CachedDocument(float(value.get("fetched", 0)), value["document"].encode())


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        temporary.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()

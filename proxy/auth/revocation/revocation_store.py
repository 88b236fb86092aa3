"""Stores of revocations: the store of all replicas, or a file beside the ledger."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple, Protocol

import orjson

from proxy.auth.revocation.revocation_list import Revocation
from proxy.storage.redis_client import RedisStore, Script

MAX_REVOCATIONS = 100_000  # in one file; some 200 bytes each


class Snapshot(NamedTuple):
    """All revocations, and the *version* by which the next look sees that nothing has changed."""

    version: str
    revocations: tuple[Revocation, ...]


class RevocationStore(Protocol):
    """Place of the revocations. Raises OSError, StoreAway or ValueError where it cannot be used."""

    async def add(self, revocation: Revocation) -> None:
        """Adds one, for every process that shares the store."""
        ...

    async def load(self, version: str | None) -> Snapshot | None:
        """Returns all revocations, None where they are still those of *version*."""
        ...


class MemoryRevocations:
    """Revocations of one process, forgotten at its end: for a ledger in memory."""

    def __init__(self) -> None:
        self._revocations: list[Revocation] = []
        self._version = 0

    async def add(self, revocation: Revocation) -> None:
        """Adds one."""
        self._version += 1
        self._revocations = [*_current(self._revocations), revocation]

    async def load(self, version: str | None) -> Snapshot | None:
        """Returns them all, unless none was added since *version*."""
        now = str(self._version)
        return None if now == version else Snapshot(now, tuple(self._revocations))


class FileRevocations:
    """Revocations in a file of JSON lines, mode 0600, which commands append to while the gateway runs."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def add(self, revocation: Revocation) -> None:
        """Appends one, and leaves out those that have expired. Raises OSError."""
        await asyncio.to_thread(self._add, revocation)

    async def load(self, version: str | None) -> Snapshot | None:
        """Reads the file where it has changed. Raises OSError and ValueError."""
        return await asyncio.to_thread(self._load, version)

    def _add(self, revocation: Revocation) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with open(descriptor, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            lines = [*_current(_parse(file.read())), revocation]
            if len(lines) > MAX_REVOCATIONS:
                raise ValueError(f"{self._path} holds {MAX_REVOCATIONS} revocations already")
            file.seek(0)
            file.write(b"".join(map(_line, lines)))
            file.truncate()
            file.flush()
            os.fsync(file.fileno())

    def _load(self, version: str | None) -> Snapshot | None:
        try:
            state = self._path.stat()
        except FileNotFoundError:
            return None if version == "" else Snapshot("", ())
        current = f"{state.st_mtime_ns}-{state.st_size}-{state.st_ino}"
        if current == version:
            return None
        with self._path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            return Snapshot(current, tuple(_current(_parse(file.read()))))


class RedisRevocations:
    """Revocations in the shared store; the keys live as long as the last of them."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store

    async def add(self, revocation: Revocation) -> None:
        """Adds one. Raises StoreAway."""
        args: list[bytes | int] = [_line(revocation).strip(), int(revocation.until) + 1, int(time.time())]
        await self._store.run(_ADD, ["revocations", "revocations:version"], args)

    async def load(self, version: str | None) -> Snapshot | None:
        """Reads all where the version differs. Raises StoreAway and ValueError."""
        answer = await self._store.run(_LOAD, ["revocations", "revocations:version"], [version or ""])
        if not isinstance(answer, list):
            return None
        current, *lines = answer
        return Snapshot(current.decode(), tuple(_current(_parse(b"\n".join(lines)))))


_ADD = Script("""
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('SET', KEYS[2], redis.sha1hex(ARGV[1] .. (redis.call('GET', KEYS[2]) or '')))
redis.call('EXPIREAT', KEYS[1], last[2])
redis.call('EXPIREAT', KEYS[2], last[2])
return 1
""")
# An absent version is "0": after the keys have expired, or were lost, the list is empty again.
_LOAD = Script("""
local version = redis.call('GET', KEYS[2]) or '0'
if version == ARGV[1] then return nil end
local entries = redis.call('ZRANGE', KEYS[1], 0, -1)
table.insert(entries, 1, version)
return entries
""")


def _current(revocations: Iterable[Revocation]) -> list[Revocation]:
    now = time.time()
    return [revocation for revocation in revocations if revocation.until > now]


def _line(revocation: Revocation) -> bytes:
    return orjson.dumps(asdict(revocation)) + b"\n"


def _parse(content: bytes) -> list[Revocation]:
    try:
        return [Revocation(**orjson.loads(line)) for line in content.splitlines() if line]
    except (orjson.JSONDecodeError, TypeError) as error:
        raise ValueError(f"the list of revocations is damaged: {error}") from error

"""Liveness of the workers that share a ledger.

Each worker has a heartbeat key in the store, and a locked file in a folder of its host. A repeat of a call decides by
them whether the worker that made the call still has its caller.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Awaitable, Callable, Iterable
from itertools import count
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from proxy.billing.ledger.redis.replies import texts
from proxy.billing.ledger.redis.scripts import admin as scripts
from proxy.storage.redis_client import Script

ENDED_BATCH = 100  # ended notes written in one call
MAX_SKEW = 60.0  # seconds that clocks may differ before that is reported
HEARTBEAT_INTERVAL = 0.5  # seconds
HEARTBEAT_TTL = 2.0  # seconds after its last heartbeat that a worker counts as dead
_POLL_INTERVAL = 0.1  # seconds between two looks at another worker's heartbeat

Run = Callable[[Script, list[bytes | str | int]], Awaitable[object]]


class Workers:
    """Heartbeat of this worker, and verdicts on others. *folder* holds the lock files; None for none.

    *ended_notes* are ids of calls whose callers have their answers. While such a note stays open, another worker may
    join the call once this worker has ended. *skew*: seconds by which this host's clock is ahead of the store's.
    *on_pauses* is called with the pauses that workers share, at each heartbeat while there are some.
    """

    def __init__(self, run: Run, folder: Path | None, report: Callable[[str], None]) -> None:
        self.name = uuid4().hex
        self._run = run
        self._folder = folder
        self._lock: BinaryIO | None = None
        self._beats = count()
        self._report = report
        self.ended_notes: list[str] = []
        self._ending: list[str] = []
        self.skew = 0.0
        self.on_pauses: Callable[[Iterable[str]], None] = lambda texts: None

    def lock(self) -> None:
        """Creates and locks this worker's file. Without a folder that only this user can write there is none."""
        if self._folder is None or not _is_private(self._folder):
            self._folder = None
            return
        self._lock = open(self._path(self.name), "wb")  # noqa: SIM115 - locked for as long as this process lives
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def end_note(self, call_id: str) -> None:
        """Ends a note from the next iteration of the event loop on.

        The answer is written at the end of this one. A worker that died between the two writes would leave a call that
        neither its caller nor a repeat gets the answer of.
        """
        if not self._ending:
            asyncio.get_running_loop().call_soon(self._queue_ended)
        self._ending.append(call_id)

    async def beat(self) -> tuple[str, int]:
        """Renews the heartbeat and writes all ended notes; returns epoch and number of open calls."""
        while True:
            started = time.time()
            epoch, open_calls, server_time, *pauses = texts(await self._send_beat(self.take_ended_notes()))
            self._note_skew((started + time.time()) / 2 - float(server_time))
            if pauses:
                self.on_pauses(pauses)
            if not self.ended_notes:
                return epoch, int(open_calls)

    def take_ended_notes(self) -> list[str]:
        """Removes up to ENDED_BATCH notes, which one step alone may write; after a failure it returns them."""
        ended = self.ended_notes[:ENDED_BATCH]
        del self.ended_notes[:ENDED_BATCH]
        return ended

    async def are_alive(self, names: Iterable[str]) -> dict[str, bool]:
        """Returns for each worker whether it is alive now. Takes HEARTBEAT_TTL seconds at most."""
        names = list(names)
        return dict(zip(names, await asyncio.gather(*map(self._is_alive, names)), strict=True))

    async def has_heartbeat(self, name: str) -> bool:
        """Returns whether a worker lived within the last HEARTBEAT_TTL seconds."""
        return name == self.name or await self._run(scripts.LAST_HEARTBEAT, [name]) is not None

    async def share_pause(self, name: str, text: str, *, ttl: float) -> None:
        """Shows *text* to all workers with their next heartbeat, for *ttl* seconds. Raises StoreAway."""
        await self._run(scripts.SHARE_PAUSE, [name, text, int(ttl * 1000)])

    async def end_pause(self, name: str) -> None:
        """Removes what `share_pause` showed. Raises StoreAway."""
        await self._run(scripts.END_PAUSE, [name])

    async def stop(self) -> None:
        """Ends the heartbeat, so that others count this worker as dead at once."""
        self.unlock()
        await self._run(scripts.END_WORKER, [self.name])

    def unlock(self) -> None:
        """Removes this worker's file."""
        if self._lock is not None:
            self._path(self.name).unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def _queue_ended(self) -> None:
        self.ended_notes += self._ending
        self._ending.clear()

    def _note_skew(self, skew: float) -> None:
        if abs(skew) > MAX_SKEW >= abs(self.skew):
            self._report(f"the clock of this host differs from the store's by {skew:.0f} s")
        self.skew = skew

    async def _send_beat(self, ended: list[str]) -> object:
        written = False
        try:
            reply = await self._run(
                scripts.HEARTBEAT, [self.name, next(self._beats), int(HEARTBEAT_TTL * 1000), *ended]
            )
            written = True
        finally:
            if not written:
                self.ended_notes += ended
        return reply

    async def _is_alive(self, name: str) -> bool:
        if name == self.name:
            return True
        locked = self._is_locked(name)
        if locked is not None:
            return locked
        first = last = await self._run(scripts.LAST_HEARTBEAT, [name])
        while last is not None and last == first:
            await asyncio.sleep(_POLL_INTERVAL)
            last = await self._run(scripts.LAST_HEARTBEAT, [name])
        return last is not None

    def _is_locked(self, name: str) -> bool | None:
        """Returns whether another worker of this host holds its file; None if there is no such file."""
        if self._folder is None:
            return None
        try:
            with open(self._path(name), "rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return None
        except BlockingIOError:
            return True
        self._path(name).unlink(missing_ok=True)
        return False

    def _path(self, name: str) -> Path:
        return (self._folder or Path()) / f"{name}.lock"


def _is_private(folder: Path) -> bool:
    """Creates *folder* where it is missing; returns whether it belongs to this user alone."""
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
        return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022
    return False

"""Watch on the store of revocations, so that each process knows them within a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from proxy.auth.caller import Caller
from proxy.auth.revocation.revocation_list import Revocation, RevocationList, token_subject
from proxy.auth.revocation.revocation_store import RevocationStore
from proxy.errors import StoreAway

INTERVAL = 0.5  # seconds between two looks at the store


class RevocationWatch:
    """Revocations as this process knows them. While *store* is away the last known ones hold.

    *report* gets a line when the store goes away and when it is back.
    *on_change* is called with each change, to end what a revoked session has opened.
    """

    def __init__(self, store: RevocationStore, *, report: Callable[[str], None]) -> None:
        self._store = store
        self._report = report
        self._list = RevocationList()
        self._version: str | None = None
        self._away = False
        self._task: asyncio.Task[None] | None = None
        self.on_change: Callable[[], None] = lambda: None

    def is_revoked(self, caller: Caller) -> bool:
        """Returns True where the session of *caller* is revoked."""
        return self._list.is_revoked(caller)

    def start(self) -> None:
        """Starts the task that watches the store, unless it runs."""
        if self._task is None:
            self._task = asyncio.create_task(self._watch())

    async def aclose(self) -> None:
        """Stops the task."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def revoke_session(self, caller: Caller) -> None:
        """Revokes the one token of *caller*.

        Raises OSError, StoreAway and ValueError where it cannot be stored.
        """
        subject = token_subject(caller.issuer, caller.token_id or "")
        await self.revoke(Revocation("token", subject, until=caller.session_end))

    async def revoke(self, revocation: Revocation) -> None:
        """Adds *revocation*, which holds in this process at once. Raises OSError, StoreAway and ValueError."""
        await self._store.add(revocation)
        self._list.add(revocation)
        self.on_change()

    async def look(self) -> None:
        """Reads what has changed in the store."""
        try:
            snapshot = await self._store.load(self._version)
        except (OSError, StoreAway, ValueError) as error:
            if not self._away:
                self._report(f"the revocations could not be read; the last known ones hold: {error}")
            self._away = True
            return
        if self._away:
            self._report("the revocations can be read again")
        self._away = False
        if snapshot is not None:
            self._version, self._list = snapshot.version, RevocationList(snapshot.revocations)
            self.on_change()

    async def _watch(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(INTERVAL)

"""Probe of a refused key: reads the status of a made-up job until fal accepts the key again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Protocol

from proxy.errors import StoreAway, TransportError
from proxy.fal_api.operations import WITHOUT_ENDPOINT
from proxy.http.client.messages import UpstreamResponse
from proxy.upstream.account.state import KEY, PAUSE, Account, Pause

_RECHECK = 0.5  # seconds between two looks for the finding of another worker
_RECHECKS = 20


class Finding(Enum):
    """Finding of the worker that probes; PENDING until it has one."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    PENDING = "pending"


class ProbeLease(Protocol):
    """Lease by which one of several workers probes, and the others learn what it found."""

    async def take(self, name: str) -> Finding | None:
        """Returns the finding, None for the one worker that is to probe. Raises StoreAway."""
        ...

    async def publish(self, name: str, finding: Finding) -> None:
        """Stores the finding for the workers that share the lease. Raises StoreAway."""
        ...


class AccountProbe:
    """Probes each pause of *account* every *interval* seconds, until fal accepts the call.

    *read_status* reads the status of a made-up job of an app with the key of an alias. *app* is one that is listed, for
    a pause without one. *clock* in unix seconds, alike in all workers.
    """

    def __init__(
        self,
        account: Account,
        read_status: Callable[[str, str], Awaitable[UpstreamResponse]],
        lease: ProbeLease,
        *,
        app: str,
        clock: Callable[[], float],
        interval: float = PAUSE,
    ) -> None:
        self._account = account
        self._read_status = read_status
        self._lease = lease
        self._app = app
        self._clock = clock
        self._interval = interval
        self._tasks: set[asyncio.Task[None]] = set()
        account.on_pause = self._start

    async def aclose(self) -> None:
        """Stops all probes."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, pause: Pause) -> None:
        task = asyncio.get_running_loop().create_task(self._watch(pause))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch(self, pause: Pause) -> None:
        accepted = False
        while not accepted:
            await asyncio.sleep(self._interval)
            accepted = await self._is_accepted(pause)
        self._account.resume(pause, "fal accepts a status read")

    async def _is_accepted(self, pause: Pause) -> bool:
        if pause.scope != KEY and pause.app in WITHOUT_ENDPOINT.values():
            return True  # a status read shows nothing about fal's REST host, so the next call decides
        name = f"{self._account.keys[pause.alias].digest} {pause.scope} {int(self._clock() // self._interval)}"
        try:
            finding = await self._take(name)
            if finding is None:
                finding = await self._probe(pause)
                await self._lease.publish(name, finding)
        except StoreAway:
            finding = await self._probe(pause)
        return finding is Finding.ACCEPTED

    async def _take(self, name: str) -> Finding | None:
        for _ in range(_RECHECKS):
            finding = await self._lease.take(name)
            if finding is not Finding.PENDING:
                return finding
            await asyncio.sleep(_RECHECK)
        return Finding.PENDING

    async def _probe(self, pause: Pause) -> Finding:
        app = self._app if pause.app in WITHOUT_ENDPOINT.values() else pause.app
        try:
            response = await self._read_status(app, pause.alias)
        except TransportError:
            return Finding.REFUSED
        # fal answers 404 for a job it does not know; a refusal of the account comes before that.
        refused = response.status >= 500 or response.status in (401, 403, 429)
        return Finding.REFUSED if refused else Finding.ACCEPTED

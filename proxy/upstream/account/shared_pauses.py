"""Pauses of fal keys that all workers share, over the heartbeat of their ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Protocol

import orjson

from proxy.errors import StoreAway
from proxy.upstream.account.state import Account, Pause

_LIFETIME = 60.0  # seconds that a pause is shown: three probes
# Seconds after a resumption in which a heartbeat may still show the pause.
_OVERTAKEN = 5.0


class Heartbeats(Protocol):
    """Heartbeat of one worker, which carries the pauses of all."""

    on_pauses: Callable[[Iterable[str]], None]

    async def share_pause(self, name: str, text: str, *, ttl: float) -> None:
        """Raises StoreAway."""

    async def end_pause(self, name: str) -> None:
        """Raises StoreAway."""


class SharedPauses:
    """Shares the pauses that fal's refusals cause, and begins those of other workers.

    A key goes by its digest, so that a pause does not concern a key that has replaced it under its alias. *clock*
    returns monotonic seconds.
    """

    def __init__(self, heartbeats: Heartbeats, account: Account, *, clock: Callable[[], float]) -> None:
        self._heartbeats = heartbeats
        self._account = account
        self._clock = clock
        self._aliases = {key.digest: alias for alias, key in account.keys.items()}
        self._resumed: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        account.on_refusal = self._share
        account.on_resume = self._end
        heartbeats.on_pauses = self._learn

    def _share(self, pause: Pause) -> None:
        digest = self._account.keys[pause.alias].digest
        text = orjson.dumps([digest, pause.scope, pause.cause, pause.app]).decode()
        self._start(self._heartbeats.share_pause(self._name(pause), text, ttl=_LIFETIME))

    def _end(self, pause: Pause) -> None:
        self._resumed[self._name(pause)] = self._clock()
        self._start(self._heartbeats.end_pause(self._name(pause)))

    def _learn(self, texts: Iterable[str]) -> None:
        for text in texts:
            digest, scope, cause, app = orjson.loads(text)
            alias = self._aliases.get(digest)
            if alias is None:
                continue
            pause = Pause(scope, cause, app, alias)
            if self._clock() - self._resumed.get(self._name(pause), -_OVERTAKEN) >= _OVERTAKEN:
                self._account.pause(pause, "another worker met fal's refusal")

    def _name(self, pause: Pause) -> str:
        return f"{self._account.keys[pause.alias].digest} {pause.scope}"

    def _start(self, step: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(_ignoring_outage(step))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _ignoring_outage(step: Coroutine[None, None, None]) -> None:
    """Without the store each worker learns of the pause by its own first refusal."""
    with suppress(StoreAway):
        await step

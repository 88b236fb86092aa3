"""Cancellation of upstream work whose caller has disconnected."""

from __future__ import annotations

import asyncio
from types import TracebackType

from starlette.types import Receive

from proxy.errors import ClientGone
from proxy.http.server.exchange import Exchange

# Seconds without a second task: most polls are answered sooner.
_GRACE = 0.05


class CancelOnDisconnect:
    """Context manager that cancels its block when the caller disconnects, and raises ClientGone.

    The request's body must have been read to its end, because the messages of *receive* are consumed. An
    *exchange* reports the disconnect by itself; under another server a task waits for `http.disconnect`.
    """

    def __init__(self, receive: Receive, exchange: Exchange | None = None) -> None:
        self._receive = receive
        self._exchange = exchange
        self._watcher: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._gone = False

    async def __aenter__(self) -> None:
        exchange = self._exchange
        self._task = asyncio.current_task() if exchange is None else exchange.task
        if exchange is None:
            self._timer = asyncio.get_running_loop().call_later(_GRACE, self._begin)
        elif exchange.gone:
            self._leave()
        else:
            exchange.on_leave = self._leave

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._exchange is not None:
            self._exchange.on_leave = None
        if self._timer is not None:
            self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._gone and kind is asyncio.CancelledError and self._task is not None and self._task.uncancel() == 0:
            raise ClientGone("the caller disconnected before fal answered") from error

    def _begin(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        self._gone = True
        if self._task is not None:
            self._task.cancel()

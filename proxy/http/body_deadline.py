"""Deadlines of request bodies under a server that has none of its own."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive

from proxy.errors import CLOSE, RequestTimeout
from proxy.http.server.limits import ConnectionLimits


class TimedReceive:
    """Returns a *receive* that raises RequestTimeout where the body is late, or too slow by *limits*.

    After the end of the body it waits without a deadline, for the disconnect.
    """

    def __init__(self, receive: Receive, limits: ConnectionLimits) -> None:
        self._receive = receive
        self._limits = limits
        self._started = asyncio.get_running_loop().time()
        self._content = 0
        self._complete = False

    async def __call__(self) -> Message:
        if self._complete:
            return await self._receive()
        limits = self._limits
        slow = self._started + limits.rate_grace + self._content / limits.min_rate
        try:
            async with asyncio.timeout_at(min(self._started + limits.body_time, slow)):
                message = await self._receive()
        except TimeoutError as error:
            raise RequestTimeout(headers=[CLOSE]) from error
        self._content += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        return message

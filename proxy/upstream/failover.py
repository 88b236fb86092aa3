"""Client of two origins: the second one is used where no connection to the first can be made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from proxy.errors import ConnectFailed
from proxy.http.client.messages import UpstreamRequest, UpstreamResponse
from proxy.upstream.body import UpstreamBody

if TYPE_CHECKING:
    from proxy.upstream.relay import UpstreamClient

MIN_SECONDS = 0.5  # left for the second origin after a slow failure of the first


class FailoverClient:
    """Client of *primary*, and of *backup* after a ConnectFailed, which is certain to have sent nothing.

    fal publishes a backup of its queue under another domain (fal docs, client 1.0.3). A broken exchange is not
    repeated: its bytes may have arrived.
    """

    def __init__(self, primary: UpstreamClient, backup: UpstreamClient) -> None:
        self._primary = primary
        self._backup = backup
        self.failovers = 0

    @property
    def active(self) -> int:
        """Exchanges under way with both origins."""
        return self._primary.active + self._backup.active

    @property
    def idle(self) -> int:
        """Connections to both origins that are kept open."""
        return self._primary.idle + self._backup.idle

    async def fetch(
        self, request: UpstreamRequest, *, timeout: float, max_body: int, reserved: bool = False
    ) -> UpstreamResponse:
        """Returns the answer of one of the origins within *timeout* seconds. Raises as the backup's client."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        try:
            return await self._primary.fetch(request, timeout=timeout, max_body=max_body, reserved=reserved)
        except ConnectFailed:
            self.failovers += 1
        rest = max(deadline - loop.time(), MIN_SECONDS)
        return await self._backup.fetch(request, timeout=rest, max_body=max_body, reserved=reserved)

    @asynccontextmanager
    async def stream(
        self, request: UpstreamRequest, *, timeout_head: float, timeout_idle: float
    ) -> AsyncIterator[UpstreamBody]:
        """Opens the answer of one of the origins. Raises as the backup's client."""
        async with AsyncExitStack() as exit_stack:
            try:
                body = await exit_stack.enter_async_context(
                    self._primary.stream(request, timeout_head=timeout_head, timeout_idle=timeout_idle)
                )
            except ConnectFailed:
                self.failovers += 1
                body = await exit_stack.enter_async_context(
                    self._backup.stream(request, timeout_head=timeout_head, timeout_idle=timeout_idle)
                )
            yield body

    async def aclose(self) -> None:
        """Closes all connections to both origins."""
        await self._primary.aclose()
        await self._backup.aclose()

    @property
    def both(self) -> tuple[UpstreamClient, UpstreamClient]:
        """The clients of the two origins."""
        return self._primary, self._backup


def all_clients(clients: Iterable[UpstreamClient]) -> Iterator[UpstreamClient]:
    """Yields *clients*, in place of a FailoverClient its two."""
    for client in clients:
        if isinstance(client, FailoverClient):
            yield from client.both
        else:
            yield client

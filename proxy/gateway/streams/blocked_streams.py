"""End of the streams of callers whom the operator has blocked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from proxy.errors import StoreAway
from proxy.gateway.streams.stream_slots import EndReason, StreamRegistry

INTERVAL = 2.0  # seconds between two looks, while streams are open


class BlockList(Protocol):
    """Part of the ledger that holds the blocked callers."""

    async def blocked_callers(self, callers: Sequence[str]) -> frozenset[str]:
        """Returns those of *callers* that are blocked. Raises StoreAway."""
        ...


async def end_blocked_streams(streams: StreamRegistry, block_list: BlockList) -> None:
    """Ends the streams of blocked callers within INTERVAL seconds, until it is cancelled.

    While the store is away nothing ends.
    """
    while True:
        await asyncio.sleep(INTERVAL)
        if callers := streams.callers:
            with suppress(StoreAway):
                _end(streams, await block_list.blocked_callers(callers))


def _end(streams: StreamRegistry, blocked: frozenset[str]) -> None:
    streams.end_sessions(lambda session: session.key in blocked, EndReason.BLOCKED)

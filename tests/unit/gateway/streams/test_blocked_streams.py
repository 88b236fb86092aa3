"""Streams of callers whom the operator blocks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack

import pytest
from support.sandbox import Clock, until

from proxy.auth.caller import Caller
from proxy.errors import StoreAway
from proxy.gateway.streams import blocked_streams
from proxy.gateway.streams.blocked_streams import end_blocked_streams
from proxy.gateway.streams.stream_slots import EndReason, StreamLimits, StreamRegistry


class BlockList:
    """Blocked callers, in a store that may be away."""

    def __init__(self) -> None:
        self.blocked: set[str] = set()
        self.away = False
        self.looks = 0

    async def blocked_callers(self, callers: Sequence[str]) -> frozenset[str]:
        self.looks += 1
        if self.away:
            raise StoreAway(reason="away")
        return frozenset(callers) & self.blocked


class Endless:
    """An upstream body that sends nothing."""

    status = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def __aiter__(self) -> Endless:
        return self

    async def __anext__(self) -> bytes:
        await asyncio.Event().wait()
        return b""


def caller(key: str) -> Caller:
    return Caller("i", key, key, frozenset(), 2e9, {})


async def test_a_blocked_caller_loses_its_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that waits for fal ends once its caller is blocked; other streams go on."""
    monkeypatch.setattr(blocked_streams, "INTERVAL", 0.01)
    streams, blocks = StreamRegistry(StreamLimits(), clock=Clock()), BlockList()
    task = asyncio.create_task(end_blocked_streams(streams, blocks))
    with ExitStack() as stack:
        alice, bob = (
            stack.enter_context(streams.acquire(name, paid=False, session=caller(name))) for name in ("alice", "bob")
        )
        reading = [asyncio.create_task(slot.read(Endless())) for slot in (alice, bob)]
        blocks.blocked, blocks.away = {"alice"}, True
        await until(lambda: blocks.looks > 2)
        during = alice.ended
        blocks.away = False
        ended = await reading[0]
        other = bob.ended
        reading[1].cancel()
    task.cancel()

    assert (during, ended, alice.ended) == (None, None, EndReason.BLOCKED)
    assert other is None


async def test_without_streams_there_is_no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is read only while streams are open."""
    monkeypatch.setattr(blocked_streams, "INTERVAL", 0.001)
    streams, blocks = StreamRegistry(StreamLimits(), clock=Clock()), BlockList()
    task = asyncio.create_task(end_blocked_streams(streams, blocks))
    await asyncio.sleep(0.02)
    task.cancel()

    assert blocks.looks == 0

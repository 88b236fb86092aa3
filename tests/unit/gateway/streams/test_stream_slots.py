from __future__ import annotations

import asyncio
import math
from contextlib import ExitStack

import pytest
from support.in_process_gateway import Chunks
from support.scripted_upstream import on_both_loops

from proxy.errors import ExchangeBroken, Overloaded, RateLimited
from proxy.gateway.streams.stream_slots import EndReason, StreamLimits, StreamRegistry, StreamSlot

QUICK = StreamLimits(per_user=2, per_worker=3, age=5, heartbeat=0.05, idle=0.2, final_flush=0.1)


class Silent(Chunks):
    """Nothing ever comes."""

    async def __anext__(self) -> bytes:
        await asyncio.Event().wait()
        raise StopAsyncIteration


def new_slot(limits: StreamLimits = QUICK, *, expires: float = math.inf) -> StreamSlot:
    return StreamSlot(limits, expires=asyncio.get_running_loop().time() + expires, paid=False)


async def read_all(slot: StreamSlot, source: Chunks) -> list[bytes]:
    read = []
    while (chunk := await slot.read(source)) is not None:
        read.append(chunk)
        slot.reset_heartbeat()
    return read


@on_both_loops
async def test_a_place_reads_to_the_end() -> None:
    """All content in order, then None, and why."""
    slot = new_slot()

    assert await read_all(slot, Chunks([b"a", b"b"])) == [b"a", b"b"]
    assert slot.ended is EndReason.FAL_ENDED


@on_both_loops
async def test_a_place_reads_to_the_break() -> None:
    """Content before the break is read, and the reason is there for the log."""
    slot = new_slot()

    assert await read_all(slot, Chunks([b"a", ExchangeBroken("reset", sent=True, received=True)])) == [b"a"]
    assert (slot.ended, slot.reason) == (EndReason.FAL_BROKE, "reset")


@on_both_loops
async def test_silence_is_told_and_ends() -> None:
    """Heartbeats are due until fal was silent for too long; content starts both times again."""
    slot = new_slot()
    beats = await read_all(slot, Silent([]))

    assert set(beats) == {b""}
    assert 1 <= len(beats) <= 4  # fewer where the loop is late
    assert slot.ended is EndReason.FAL_SILENT

    slot = new_slot()
    for _ in range(4):
        assert await slot.read(Silent([])) == b""
        slot.reset_heartbeat()
        assert await slot.read(Chunks([b"a"])) == b"a"
        slot.reset_heartbeat()
    assert slot.ended is None


@on_both_loops
async def test_content_that_nobody_is_told_of_does_not_put_off_a_heartbeat() -> None:
    """The time to a heartbeat runs from the last bytes that were sent to the caller."""
    slot, source = new_slot(), Chunks([b"a"] * 1000)
    async with asyncio.timeout(1):
        while await slot.read(source):  # noqa: ASYNC110 content keeps coming meanwhile
            await asyncio.sleep(0.01)

    assert slot.ended is None


@pytest.mark.parametrize(
    ("limits", "expires", "why"),
    [
        (StreamLimits(age=0.05), math.inf, EndReason.TOO_OLD),
        (StreamLimits(), 0.05, EndReason.EXPIRED),
        (StreamLimits(), -1.0, EndReason.EXPIRED),
    ],
    ids=["age", "session", "session-over"],
)
@on_both_loops
async def test_a_place_has_an_end(limits: StreamLimits, expires: float, why: EndReason) -> None:
    """The first deadline ends the stream; content that is there does not put it off."""
    slot = new_slot(limits, expires=expires)

    async with asyncio.timeout(1):
        assert await read_all(slot, Silent([])) == []
    assert slot.ended is why
    assert await slot.read(Chunks([b"a"])) is None


@on_both_loops
async def test_a_stop_reaches_a_reader_who_waits() -> None:
    """Unpaid streams end at once, paid ones after the grace, and no new one is admitted."""
    streams = StreamRegistry(StreamLimits(), clock=lambda: 0.0)
    with ExitStack() as exit_stack:
        free, paid = (exit_stack.enter_context(streams.acquire("a", paid=one)) for one in (False, True))
        reading = [asyncio.ensure_future(read_all(slot, Silent([]))) for slot in (free, paid)]
        await asyncio.sleep(0)
        streams.drain(0.2)
        async with asyncio.timeout(0.1):
            await reading[0]
        assert not reading[1].done()
        async with asyncio.timeout(1):
            await reading[1]
        with pytest.raises(Overloaded), streams.acquire("b", paid=False):
            pass

    assert (free.ended, paid.ended) == (EndReason.DRAINING, EndReason.DRAINING)


@on_both_loops
async def test_a_caller_who_does_not_read_is_not_waited_for_for_ever() -> None:
    """A write ends a little after the deadline of its stream, also after a change of the deadline."""
    for told_later in (False, True):
        slot = new_slot(expires=math.inf if told_later else 0.05)
        sending = asyncio.ensure_future(slot.send_within(asyncio.Event().wait()))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        if told_later:
            slot.set_deadline(asyncio.get_running_loop().time(), EndReason.DRAINING)
        async with asyncio.timeout(1):
            assert not await sending
        assert slot.ended is EndReason.STUCK


@on_both_loops
async def test_sending_leaves_the_end_alone() -> None:
    """Last words can be sent although the end has come."""
    slot = new_slot(expires=-1)
    assert await slot.read(Silent([])) is None
    assert await slot.send_within(asyncio.sleep(0))
    assert slot.ended is EndReason.EXPIRED


@on_both_loops
async def test_caps() -> None:
    """Slots are limited per caller and in all, and every exit gives the slot back."""
    streams = StreamRegistry(QUICK, clock=lambda: 0.0)
    with ExitStack() as exit_stack:
        for caller in ("a", "a"):
            exit_stack.enter_context(streams.acquire(caller, paid=False))
        with pytest.raises(RateLimited, match="2 streams"), streams.acquire("a", paid=False):
            pass
        exit_stack.enter_context(streams.acquire("b", paid=False))
        with pytest.raises(Overloaded), streams.acquire("c", paid=False):
            pass
        assert len(streams) == 3
    for _ in range(5):
        with pytest.raises(ZeroDivisionError), streams.acquire("a", paid=False):
            1 / 0  # noqa: B018

    assert len(streams) == 0

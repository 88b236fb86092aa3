from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message

from proxy.errors import ClientGone
from proxy.http.server.disconnect import CancelOnDisconnect


class Line:
    """A caller's side of a request: `hang_up` makes `receive` say so."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[Message] = asyncio.Queue()

    def hang_up(self) -> None:
        self._messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        self._messages.put_nowait({"type": "http.disconnect"})

    async def receive(self) -> Message:
        return await self._messages.get()


async def test_a_quick_answer_needs_no_watcher() -> None:
    """The block's value comes through and no task is left behind."""
    line, before = Line(), len(asyncio.all_tasks())
    async with CancelOnDisconnect(line.receive):
        value = await asyncio.sleep(0, 7)

    assert value == 7
    assert len(asyncio.all_tasks()) == before


async def test_a_caller_who_leaves_ends_the_block() -> None:
    """The wait is cancelled and ClientGone raised in its place; the task itself is not left cancelled."""
    line = Line()
    line.hang_up()
    with pytest.raises(ClientGone):
        async with CancelOnDisconnect(line.receive):
            await asyncio.Event().wait()

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_cancellation_from_outside_stays_one() -> None:
    """A stopping server cancels the request; that is not a caller who left."""

    async def wait() -> None:
        async with CancelOnDisconnect(Line().receive):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_block_comes_through() -> None:
    """Any other error of the block passes, and the watcher ends."""

    async def fail() -> None:
        async with CancelOnDisconnect(Line().receive):
            await asyncio.sleep(0.08)  # longer than the grace: the watcher is there
            raise ValueError("own")

    with pytest.raises(ValueError, match="own"):
        await fail()

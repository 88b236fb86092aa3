from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message

from proxy.errors import CLOSE, RequestTimeout
from proxy.http.body_deadline import TimedReceive
from proxy.http.server.limits import ConnectionLimits


def body(content: bytes, *, more: bool) -> Message:
    return {"type": "http.request", "body": content, "more_body": more}


class Client:
    """Sends *messages*, and then nothing."""

    def __init__(self, *messages: Message) -> None:
        self._messages = list(messages)

    async def receive(self) -> Message:
        if not self._messages:
            await asyncio.Event().wait()
        return self._messages.pop(0)


@pytest.mark.parametrize(
    "limits",
    [ConnectionLimits(body_time=0.02), ConnectionLimits(rate_grace=0.02, min_rate=1_000_000)],
    ids=["late", "slow"],
)
async def test_a_body_that_does_not_come_is_a_timeout(limits: ConnectionLimits) -> None:
    """A late or slow body is a timeout, and its connection is not used again."""
    receive = TimedReceive(Client(body(b"abc", more=True)).receive, limits)
    first = await receive()
    with pytest.raises(RequestTimeout) as refused:
        await receive()

    assert first["body"] == b"abc"
    assert CLOSE in refused.value.headers


async def test_the_wait_for_the_disconnect_has_no_deadline() -> None:
    """After the end of the body a caller may wait for the answer as long as it takes."""
    receive = TimedReceive(Client(body(b"", more=False)).receive, ConnectionLimits(body_time=0.01))
    await receive()
    waiting = asyncio.create_task(receive())
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    waiting.cancel()

    assert done == set()

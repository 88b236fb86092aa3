from __future__ import annotations

import asyncio
from typing import cast

import orjson
import pytest
from support.http_server import Wire
from support.raw_http import PATIENCE, replies

from proxy.errors import BadRequest, OutcomeUnknown, Overloaded, RateLimited, Refusal
from proxy.http.request_checks import malformed
from proxy.http.response import PROTECTIVE
from proxy.http.server.flow_control import HIGH_WATER, STATUS_LINES, FlowControl, closing_response


def flow_control(wire: Wire) -> FlowControl:
    return FlowControl(cast(asyncio.Transport, wire))


async def test_it_writes_at_once() -> None:
    """Nothing is kept back, nor put together."""
    wire = Wire()
    to = flow_control(wire)
    to.write(b"one")
    to.write(b"two")

    assert wire.writes == [b"one", b"two"]
    assert to.loop is asyncio.get_running_loop()


async def test_it_is_congested_between_the_two_words_of_the_transport() -> None:
    """A resume ends the wait, and a needless one does no harm, as on a lost connection."""
    to = flow_control(Wire())
    seen = [to.is_congested]
    for word in [to.resume_writing, to.pause_writing, to.resume_writing, to.resume_writing, to.pause_writing]:
        word()
        seen.append(to.is_congested)

    assert seen == [False, False, True, False, False, True]


async def test_nobody_waits_for_a_relief_without_congestion() -> None:
    """A wait without congestion ends at once, also after an earlier congestion."""
    to = flow_control(Wire())
    to.pause_writing()
    to.resume_writing()

    async with asyncio.timeout(PATIENCE):
        await to.drain()


async def test_all_who_wait_are_relieved() -> None:
    """One who gave up takes nothing from the others."""
    to = flow_control(Wire())
    to.pause_writing()
    waiting = [asyncio.create_task(to.drain()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    assert [task.done() for task in waiting] == [True, False, False]
    to.resume_writing()

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*waiting[1:])


async def test_reading_is_held_and_released_once() -> None:
    """The transport is called for changes only."""
    wire = Wire()
    to = flow_control(wire)
    for word in [
        to.resume_reading,
        to.pause_reading,
        to.pause_reading,
        to.resume_reading,
        to.resume_reading,
        to.pause_reading,
    ]:
        word()

    assert wire.calls == ["pause", "resume", "pause"]


@pytest.mark.parametrize(("unsent", "way"), [(0, "close"), (HIGH_WATER, "close"), (HIGH_WATER + 1, "abort")])
async def test_a_cut_does_not_wait_for_one_who_does_not_read(unsent: int, way: str) -> None:
    """A small unsent rest is still sent; a full buffer is not."""
    wire = Wire()
    wire.unsent = unsent
    flow_control(wire).close_or_abort()

    assert wire.calls == [way]


# (seconds, bytes unsent, whether more may be added, whether that is stalled): least 100 in a window of 10
PACES: dict[str, list[tuple[float, int, bool, bool]]] = {
    "nothing-unsent": [(0, 0, False, False), (99, 0, False, False)],
    "nothing-taken": [(0, 500, False, False), (9, 500, False, False), (10, 500, False, True)],
    "a-little-taken": [(0, 500, False, False), (5, 450, False, False), (10, 401, False, True)],
    "enough-taken": [(0, 500, False, False), (9, 400, False, False), (18, 300, False, False), (28, 300, False, True)],
    "just-enough-taken": [
        (0, 500, False, False),
        (9, 400, False, False),
        (10, 400, False, False),
        (19, 400, False, True),
    ],
    "the-rest-is-less": [(0, 50, False, False), (9, 1, False, False), (10, 1, False, True)],
    "emptied-between": [(0, 500, False, False), (9, 0, False, False), (10, 500, False, False), (20, 500, False, True)],
    "grown-between": [(0, 500, False, False), (9, 900, False, False), (18, 900, False, False), (19, 900, False, True)],
    "may-grow": [(0, 500, True, False), (99, 500, True, False)],
    "may-grow-no-more": [(0, 500, True, False), (99, 500, False, True)],
    "may-grow-between": [
        (0, 500, False, False),
        (9, 500, True, False),
        (18, 500, False, False),
        (19, 500, False, True),
    ],
}


@pytest.mark.parametrize("name", PACES)
async def test_who_does_not_read_is_found_out(name: str) -> None:
    """By how much goes in a window of time, not by whether the buffer is ever empty."""
    wire = Wire()
    to = flow_control(wire)
    for now, unsent, may_grow, stalled in PACES[name]:
        wire.unsent = unsent
        assert to.is_stalled(now, to.unread(None), window=10, least=100, may_grow=may_grow) is stalled


REFUSALS = [BadRequest(), malformed("No"), Overloaded(), RateLimited(retry_after=3), OutcomeUnknown()]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: f"{refusal.status}-{refusal.detail}")
def test_a_refusal_is_a_whole_answer_and_the_last(refusal: Refusal) -> None:
    """JSON as everywhere else, with the fields of its own, and said to close once."""
    raw = closing_response(refusal, b"date: today\r\n")
    (reply,) = replies(raw)

    assert raw.startswith(b"HTTP/1.1 %d " % refusal.status)
    assert reply.headers == {
        b"date": b"today",
        b"content-type": b"application/json",
        b"content-length": b"%d" % len(reply.body),
        **dict(PROTECTIVE),
        b"connection": b"close",
        **{name.lower(): value for name, value in refusal.headers},
    }
    assert raw.lower().count(b"connection: close\r\n") == 1
    assert raw.endswith(reply.body)
    body = orjson.loads(reply.body)
    assert body == {"detail": refusal.detail, "message": refusal.detail, "error_type": refusal.error_type}


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (200, b"HTTP/1.1 200 OK\r\n"),
        (431, b"HTTP/1.1 431 Request Header Fields Too Large\r\n"),
        (599, b"HTTP/1.1 599 \r\n"),
    ],
)
def test_a_status_line_has_a_phrase_where_there_is_one(status: int, line: bytes) -> None:
    """The space after the status stands without it too (RFC 9112 section 4)."""
    assert STATUS_LINES[status] == line

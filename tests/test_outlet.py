from __future__ import annotations

import asyncio
from typing import cast

import pytest
from raw_http import replies

from proxy.errors import BadRequest, Overloaded, Refusal
from proxy.guards import malformed
from proxy.outlet import Outlet, refusal_bytes

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


class Wire:
    """A transport that takes down its writes, with a buffer of a size to be set."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.unsent = 0

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return False


def outlet(wire: Wire) -> Outlet:
    return Outlet(cast(asyncio.Transport, wire), asyncio.get_running_loop(), lambda: None)


@pytest.mark.parametrize(
    ("pieces", "writes"),
    [
        ([HEAD, b"content"], [HEAD + b"content"]),
        ([HEAD, b""], [HEAD]),
        ([HEAD], [HEAD]),
        ([HEAD, b"one", b"two"], [HEAD + b"one", b"two"]),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", HEAD, b"a"], [b"HTTP/1.1 100 Continue\r\n\r\n", HEAD + b"a"]),
        ([HEAD, b"HTTP/1.1 is no head here"], [HEAD + b"HTTP/1.1 is no head here"]),
        ([HEAD, b"one", b"HTTP/1.1 nor here", b"two"], [HEAD + b"one", b"HTTP/1.1 nor heretwo"]),
    ],
)
async def test_a_head_takes_the_first_content_along(pieces: list[bytes], writes: list[bytes]) -> None:
    """In one write where they come together; in the end every byte is written once, in order."""
    wire = Wire()
    to = outlet(wire)
    for piece in pieces:
        to.write(piece)
    await asyncio.sleep(0)

    assert wire.writes == writes


async def test_a_flush_leaves_nothing_for_later() -> None:
    """As before a close."""
    wire = Wire()
    to = outlet(wire)
    to.write(HEAD)
    to.flush()
    at_once = list(wire.writes)
    await asyncio.sleep(0)

    assert at_once == wire.writes == [HEAD]


# (seconds, bytes unsent, whether more may be added, whether that is stalled): least 100 in a window of 10
PACES: dict[str, list[tuple[float, int, bool, bool]]] = {
    "nothing-unsent": [(0, 0, False, False), (99, 0, False, False)],
    "nothing-taken": [(0, 500, False, False), (9, 500, False, False), (10, 500, False, True)],
    "a-little-taken": [(0, 500, False, False), (5, 450, False, False), (10, 401, False, True)],
    "enough-taken": [(0, 500, False, False), (9, 400, False, False), (18, 300, False, False), (28, 300, False, True)],
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
    to = outlet(wire)
    for now, unsent, may_grow, stalled in PACES[name]:
        wire.unsent = unsent
        assert to.is_stalled(now, window=10, least=100, may_grow=may_grow) is stalled


@pytest.mark.parametrize("refusal", [BadRequest(), malformed("No"), Overloaded()], ids=lambda refusal: refusal.detail)
def test_a_refusal_is_a_whole_answer_and_the_last(refusal: Refusal) -> None:
    """JSON as everywhere else, said to close once."""
    raw = refusal_bytes(refusal, [(b"date", b"today")])
    (reply,) = replies(raw)

    assert reply.status == refusal.status
    assert reply.headers[b"date"] == b"today"
    assert refusal.error_type.encode() in reply.body
    assert raw.lower().count(b"connection: close\r\n") == 1

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
from starlette.types import Message, Receive

from proxy.errors import (
    CLOSE,
    BadRequest,
    ClientGone,
    ContentTooLarge,
    Overloaded,
    RateLimited,
    UnsupportedMediaType,
)
from proxy.http.request_body import HELD, BodyBudget, json_content_type, read_body

Fields = list[tuple[bytes, bytes]]

GONE: Message = {"type": "http.disconnect"}


def part(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


class Script:
    """A receive that returns its messages and counts the calls."""

    def __init__(self, *lines: Message) -> None:
        self._lines = iter(lines)
        self.asked = 0

    async def __call__(self) -> Message:
        self.asked += 1
        return next(self._lines)


async def read(receive: Receive, fields: Iterable[tuple[bytes, bytes]] = (), *, limit: int = 10) -> bytes:
    with BodyBudget().hold() as hold:
        return await read_body(receive, dict(fields), limit=limit, hold=hold)


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        ([part(b"abc", more=False)], b"abc"),
        ([part(b"", more=False)], b""),
        ([{"type": "http.request"}], b""),
        ([part(b"abc"), part(b"", more=False)], b"abc"),
        ([part(b""), part(b"abc", more=False)], b"abc"),
        ([part(b"ab"), part(b"c"), part(b"d", more=False)], b"abcd"),
        ([part(b"0123456789", more=False)], b"0123456789"),
    ],
)
async def test_a_body_is_read_to_its_end(lines: list[Message], body: bytes) -> None:
    """However the server cuts it, up to the limit itself."""
    assert await read(Script(*lines)) == body


@pytest.mark.parametrize(
    "lines",
    [
        [part(b"0123456789a", more=False)],
        [part(b"0123456789"), part(b"a", more=False)],
        [part(b"0123456789"), part(b"a"), part(b"never asked for")],
    ],
)
async def test_the_limit_is_on_what_is_read(lines: list[Message]) -> None:
    """A body without Content-Length is bounded all the same, and nothing more of it is read."""
    script = Script(*lines)
    with pytest.raises(ContentTooLarge) as refused:
        await read(script)

    assert CLOSE in refused.value.headers
    assert script.asked == min(len(lines), 2)


async def test_a_declared_excess_is_not_read() -> None:
    """A body of a declared excess is not requested: a 100-continue is sent with the first read."""
    script = Script()
    with pytest.raises(ContentTooLarge):
        await read(script, [(b"content-length", b"11")])

    assert script.asked == 0


@pytest.mark.parametrize("value", [b"", b"-1", b"+1", b"1,1", b"0x1", b"1.0", b"1_0", b"\xb2", b"1" * 19, b"1 1"])
async def test_a_length_is_a_number(value: bytes) -> None:
    """A malformed length is refused, also behind a server that passes it."""
    with pytest.raises(BadRequest):
        await read(Script(), [(b"content-length", value)])


async def test_a_length_may_have_space_around_it() -> None:
    """Optional white space is not part of a value; httptools leaves it at the end."""
    assert await read(Script(part(b"abc", more=False)), [(b"content-length", b"3 ")]) == b"abc"


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"deflate", b"identity, gzip", b"GZIP", b"x", b""])
async def test_a_coded_body_is_not_read(coding: bytes) -> None:
    """A body with a content coding is refused unread, since its size proves nothing."""
    script = Script()
    with pytest.raises(UnsupportedMediaType):
        await read(script, [(b"content-encoding", coding)])

    assert script.asked == 0


async def test_identity_is_no_coding() -> None:
    """Some clients say so."""
    assert await read(Script(part(b"abc", more=False)), [(b"content-encoding", b" Identity")]) == b"abc"


@pytest.mark.parametrize("lines", [[GONE], [part(b"abc"), GONE]])
async def test_half_a_body_is_no_body(lines: list[Message]) -> None:
    """A client that left has sent nothing to act on."""
    with pytest.raises(ClientGone):
        await read(Script(*lines))


# The budget of the worker.


async def test_the_budget_is_for_all_bodies_together() -> None:
    """A body that does not fit is refused as overload; after another has gone there is room again."""
    budget = BodyBudget(10 * HELD)
    with budget.hold() as first:
        await read_body(Script(part(b"0123456", more=False)), {}, limit=10, hold=first)
        with pytest.raises(Overloaded), budget.hold() as second:
            await read_body(Script(part(b"012"), part(b"3")), {}, limit=10, hold=second)
        with budget.hold() as third:
            await read_body(Script(part(b"012", more=False)), {}, limit=10, hold=third)
        left = budget.left

    assert (left, budget.left) == (3 * HELD, 10 * HELD)


@pytest.mark.parametrize(
    ("last", "error"),
    [(GONE, ClientGone), (part(b"01234567890123456789"), ContentTooLarge), (part(b"01234567"), Overloaded)],
)
async def test_the_budget_is_given_back_whatever_happens(last: Message, error: type[Exception]) -> None:
    """Not a byte leaks."""
    budget = BodyBudget(10 * HELD)
    with pytest.raises(error), budget.hold() as hold:
        await read_body(Script(part(b"abc"), last), {}, limit=20, hold=hold)

    assert budget.left == 10 * HELD


async def test_the_budget_is_given_back_when_the_reader_is_cancelled() -> None:
    """As at the end of a worker."""
    budget = BodyBudget(10 * HELD)
    received = asyncio.Event()

    async def receive() -> Message:
        if budget.left == 10 * HELD:
            return part(b"abc")
        received.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def reading() -> None:
        with budget.hold() as hold:
            await read_body(receive, {}, limit=10, hold=hold)

    task = asyncio.create_task(reading())
    await received.wait()
    left = budget.left
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert (left, budget.left) == (7 * HELD, 10 * HELD)


async def test_a_declared_length_costs_the_budget_nothing() -> None:
    """Otherwise a few silent connections would hold it all."""
    budget = BodyBudget(10 * HELD)

    async def receive() -> Message:
        assert budget.left == 10 * HELD
        return GONE

    with pytest.raises(ClientGone), budget.hold() as hold:
        await read_body(receive, {b"content-length": b"10"}, limit=10, hold=hold)


async def test_the_bytes_of_one_user_are_limited() -> None:
    """A user with too many bytes in flight is refused, and others are not; an answer makes room."""
    budget = BodyBudget(100 * HELD, per_user=10)
    with budget.hold("a") as first:
        await read_body(Script(part(b"0123456", more=False)), {}, limit=10, hold=first)
        with pytest.raises(RateLimited) as caught, budget.hold("a") as second:
            await read_body(Script(part(b"0123", more=False)), {}, limit=10, hold=second)
        with budget.hold("b") as other:
            await read_body(Script(part(b"0123", more=False)), {}, limit=10, hold=other)
    with budget.hold("a") as third:
        await read_body(Script(part(b"0123456789", more=False)), {}, limit=10, hold=third)

    assert (caught.value.error_type, budget.left) == ("too_many_bytes", 100 * HELD)


def test_new_limits_leave_the_counts() -> None:
    """After a reload what is held still counts, against the new total."""
    budget = BodyBudget(10 * HELD)
    with budget.hold("a") as hold:
        hold.take(4)
        budget.resize(20 * HELD, per_user=5)
        with pytest.raises(RateLimited):
            hold.take(2)
        left = budget.left

    assert (left, budget.left) == (16 * HELD, 20 * HELD)


# What a body says it is.

JSON: dict[str, Fields] = {
    "plain": [(b"content-type", b"application/json")],
    "upper-case": [(b"content-type", b"Application/JSON")],
    "charset": [(b"content-type", b"application/json; charset=utf-8")],
    "charset-upper-case": [(b"content-type", b"application/json;charset=UTF-8")],
    "charset-quoted": [(b"content-type", b'application/json; charset="utf-8"')],
    "semicolon": [(b"content-type", b"application/json;")],
    "no-body": [],
    "no-body-declared": [(b"content-length", b"0")],
    "no-body-and-empty": [(b"content-length", b"0"), (b"content-type", b"")],
}

NOT_JSON: dict[str, Fields] = {
    "none-with-length": [(b"content-length", b"2")],
    "none-chunked": [(b"transfer-encoding", b"chunked")],
    "empty": [(b"content-length", b"2"), (b"content-type", b"")],
    "text": [(b"content-type", b"text/plain")],
    "form": [(b"content-type", b"application/x-www-form-urlencoded")],
    "multipart": [(b"content-type", b"multipart/form-data; boundary=a")],
    "text-json": [(b"content-type", b"text/json")],
    "json-suffix": [(b"content-type", b"application/ld+json")],
    "json-seq": [(b"content-type", b"application/json-seq")],
    "prefix": [(b"content-type", b"application/jsonp")],
    "list": [(b"content-type", b"application/json, text/plain")],
    "other-first": [(b"content-type", b"text/plain; application/json")],
    "comment": [(b"content-type", b"application/json (text/plain)")],
    "inner-space": [(b"content-type", b"application / json")],
    "charset-utf-16": [(b"content-type", b"application/json; charset=utf-16")],
    "charset-latin": [(b"content-type", b"application/json; charset=iso-8859-1")],
    "charset-empty": [(b"content-type", b"application/json; charset=")],
    "charset-two": [(b"content-type", b"application/json; charset=utf-8; charset=utf-7")],
    "charset-spaced": [(b"content-type", b"application/json; charset = utf-8")],
    "other-parameter": [(b"content-type", b"application/json; boundary=a")],
    "many-semicolons": [(b"content-type", b"application/json" + b"; " * 10_000 + b"x")],
}


@pytest.mark.parametrize("name", JSON)
def test_json_in_utf_8_is_taken(name: str) -> None:
    """In every spelling of it; where there is no body there is nothing to declare."""
    json_content_type(dict(JSON[name]))


@pytest.mark.parametrize("name", NOT_JSON)
def test_anything_else_is_refused(name: str) -> None:
    """A page may send the CORS-safelisted types across origins without a preflight (Fetch standard)."""
    with pytest.raises(UnsupportedMediaType):
        json_content_type(dict(NOT_JSON[name]))


def test_the_end_of_large_bodies_is_reported_once_all_are_gone() -> None:
    """Small bodies alone report nothing, and the last of several large ones reports for all."""
    emptied: list[str] = []
    budget = BodyBudget(on_empty=lambda: emptied.append("empty"))
    with budget.hold() as small:
        small.take(1000)
    with budget.hold() as first:
        first.take(40_000_000)
        with budget.hold() as second:
            second.take(40_000_000)
        assert emptied == []
    with budget.hold() as small:
        small.take(1000)

    assert emptied == ["empty"]

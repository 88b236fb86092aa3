"""Tests of proxy.payload.body_thread."""

from __future__ import annotations

import asyncio
import threading

import pytest

from proxy.errors import BadRequest
from proxy.payload.body_thread import LARGE, BodyThread, Steps, finish


def measure(body: bytes) -> Steps[tuple[int, int]]:
    yield
    return len(body), threading.get_ident()


async def test_small_bodies_are_checked_at_once_and_large_ones_in_one_thread() -> None:
    """A small body costs no switch of threads. Large ones share one thread, which ends when it is closed."""
    thread = BodyThread()
    small = await thread.run(measure, b"x")
    large = await asyncio.gather(*(thread.run(measure, b"x" * LARGE) for _ in range(3)))
    thread.close()
    thread.close()

    assert small == (1, threading.get_ident())
    assert len({*large}) == 1
    assert large[0][0] == LARGE
    assert large[0][1] != threading.get_ident()


async def test_the_event_loop_goes_on_meanwhile() -> None:
    """Other requests are answered while a large body is checked."""
    begun, release = threading.Event(), threading.Event()

    def work(_: bytes) -> Steps[bool]:
        begun.set()
        yield from ()
        return release.wait(10)

    checking = asyncio.create_task(BodyThread().run(work, b"x" * LARGE))
    await asyncio.to_thread(begun.wait, 10)
    release.set()

    assert await checking


async def test_the_event_loop_has_a_turn_after_each_step() -> None:
    """However fast the steps are, what waits in the loop is done between two of them."""
    turns, seen = 0, []

    def work(_: bytes) -> Steps[None]:
        for _step in range(20):
            seen.append(turns)
            yield

    checking = asyncio.create_task(BodyThread().run(work, b"x" * LARGE))
    while not checking.done():
        await asyncio.sleep(0)
        turns += 1

    assert len({*seen}) == 20


@pytest.mark.parametrize("size", [1, LARGE])
async def test_a_refusal_ends_the_steps(size: int) -> None:
    """The error of a step reaches the request, and no later step runs."""
    done: list[str] = []

    def work(_: bytes) -> Steps[None]:
        yield
        if not done:
            raise BadRequest("no")
        done.append("later")

    with pytest.raises(BadRequest):
        await BodyThread().run(work, b"x" * size)
    assert done == []


def test_steps_may_be_done_at_once() -> None:
    """Only the given call is between them."""
    calls: list[str] = []

    def steps() -> Steps[str]:
        calls.append("one")
        yield
        calls.append("two")
        return "three"

    assert finish(steps(), between=lambda: calls.append("between")) == "three"
    assert calls == ["one", "between", "two"]

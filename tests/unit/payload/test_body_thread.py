"""Tests of proxy.payload.body_thread."""

from __future__ import annotations

import asyncio
import threading

import pytest

from proxy.errors import BadRequest
from proxy.payload.body_thread import BodyThread, Steps, finish


def thread_of_steps() -> Steps[int]:
    yield
    return threading.get_ident()


async def test_bodies_are_checked_in_one_thread() -> None:
    """All bodies share one thread beside that of the event loop, which ends when it is closed."""
    thread = BodyThread()
    found = await asyncio.gather(*(thread.run(thread_of_steps()) for _ in range(3)))
    thread.close()
    thread.close()

    assert len({*found}) == 1
    assert found[0] != threading.get_ident()


async def test_the_event_loop_goes_on_meanwhile() -> None:
    """Other requests are answered while a large body is checked."""
    begun, release = threading.Event(), threading.Event()

    def work() -> Steps[bool]:
        begun.set()
        yield from ()
        return release.wait(10)

    checking = asyncio.create_task(BodyThread().run(work()))
    await asyncio.to_thread(begun.wait, 10)
    release.set()

    assert await checking


async def test_the_event_loop_has_a_turn_after_each_step() -> None:
    """However fast the steps are, what waits in the loop is done between two of them."""
    turns, seen = 0, []

    def work() -> Steps[None]:
        for _step in range(20):
            seen.append(turns)
            yield

    checking = asyncio.create_task(BodyThread().run(work()))
    while not checking.done():
        await asyncio.sleep(0)
        turns += 1

    assert len({*seen}) == 20


async def test_a_refusal_ends_the_steps() -> None:
    """The error of a step reaches the request, and no later step runs."""
    done: list[str] = []

    def work() -> Steps[None]:
        yield
        if not done:
            raise BadRequest("no")
        done.append("later")

    with pytest.raises(BadRequest):
        await BodyThread().run(work())
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

"""Tests of proxy.payload.body_thread."""

from __future__ import annotations

import asyncio
import threading

from proxy.payload.body_thread import LARGE, BodyThread


async def test_small_bodies_are_checked_at_once_and_large_ones_in_one_thread() -> None:
    """A small body costs no switch of threads. Large ones share one thread, which ends when it is closed."""
    thread = BodyThread()
    small = await thread.run(lambda body: (len(body), threading.get_ident()), b"x")
    large = await asyncio.gather(
        *(thread.run(lambda body: (len(body), threading.get_ident()), b"x" * LARGE) for _ in range(3))
    )
    thread.close()
    thread.close()

    assert small == (1, threading.get_ident())
    assert len({*large}) == 1
    assert large[0][0] == LARGE
    assert large[0][1] != threading.get_ident()


async def test_the_event_loop_goes_on_meanwhile() -> None:
    """Other requests are answered while a large body is checked."""
    begun, release = threading.Event(), threading.Event()

    def work(_: bytes) -> bool:
        begun.set()
        return release.wait(10)

    checking = asyncio.create_task(BodyThread().run(work, b"x" * LARGE))
    await asyncio.to_thread(begun.wait, 10)
    release.set()

    assert await checking

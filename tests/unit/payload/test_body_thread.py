"""Tests of proxy.payload.body_thread."""

from __future__ import annotations

import asyncio
import threading

from proxy.payload.body_thread import BodyThread


async def test_bodies_are_checked_in_one_thread() -> None:
    """All bodies share one thread beside that of the event loop, which ends when it is closed."""
    thread = BodyThread()
    found = await asyncio.gather(*(thread.run(threading.get_ident) for _ in range(3)))
    thread.close()
    thread.close()

    assert len({*found}) == 1
    assert found[0] != threading.get_ident()


async def test_the_event_loop_goes_on_meanwhile() -> None:
    """Other requests are answered while a large body is checked."""
    begun, release = threading.Event(), threading.Event()

    def work() -> bool:
        begun.set()
        return release.wait(10)

    checking = asyncio.create_task(BodyThread().run(work))
    await asyncio.to_thread(begun.wait, 10)
    release.set()

    assert await checking

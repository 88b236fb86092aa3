"""Clients in a process of their own that repeat one request, each as fast as it is answered.

In the process of those who measure they would delay what is measured.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection

import uvloop

from bench.crowd import Crowd

_NICE = 5  # the process that measures must not wait for this one


@contextmanager
def repeating(port: int, request: bytes, clients: int) -> Iterator[Callable[[], Counter[int]]]:
    """Runs *clients* that repeat *request*; the call ends them and returns their statuses."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_play, args=(theirs, port, request, clients), daemon=True)
    process.start()
    theirs.close()  # so that its death is seen
    ours.recv()  # it has started

    def end() -> Counter[int]:
        ours.send(None)
        statuses: Counter[int] = ours.recv()
        return statuses

    try:
        yield end
    finally:
        process.terminate()
        process.join()


def _play(control: Connection, port: int, request: bytes, clients: int) -> None:
    os.nice(_NICE)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        control.send(runner.run(_repeat_all(control, port, request, clients)))


async def _repeat_all(control: Connection, port: int, request: bytes, clients: int) -> Counter[int]:
    over, crowd = asyncio.Event(), Crowd(port)
    asyncio.get_running_loop().add_reader(control.fileno(), over.set)
    tasks = [asyncio.create_task(_repeat(crowd, request)) for _ in range(clients)]
    control.send(None)
    await over.wait()
    asyncio.get_running_loop().remove_reader(control.fileno())
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    crowd.close()
    return Counter(answer.status for answer in crowd.answers)


async def _repeat(crowd: Crowd, request: bytes) -> None:
    while True:
        await crowd.ask("attack", request)

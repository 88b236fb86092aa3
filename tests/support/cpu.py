"""CPU time of a call as a multiple of a loop that is measured beside it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ADDITIONS = 20_000  # about one millisecond of CPU on a slow core


@contextmanager
def untraced() -> Iterator[None]:
    """Context without the tracer of the coverage measurement, which slows Python code and no C code."""
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)


def cost(call: Callable[[], object], rounds: int = 9) -> float:
    """Returns the least CPU time of a call, divided by the least of a loop of 20,000 additions.

    Both run in turn in this thread. A slow or busy machine slows both, so a bound of this figure holds where a
    bound in seconds does not.
    """
    with untraced():
        seconds = [(_seconds(call), _seconds(_loop)) for _ in range(rounds)]
    return min(one for one, _ in seconds) / min(loop for _, loop in seconds)


def loop_seconds() -> float:
    """Returns the CPU time of the loop of 20,000 additions, the least of nine."""
    with untraced():
        return min(_seconds(_loop) for _ in range(9))


def _seconds(call: Callable[[], object]) -> float:
    begin = time.thread_time()
    call()
    return time.thread_time() - begin


def _loop() -> int:
    total = 0
    for number in range(ADDITIONS):
        total += number
    return total

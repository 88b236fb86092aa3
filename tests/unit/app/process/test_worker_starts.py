from __future__ import annotations

import signal

import pytest

from proxy.app.process.worker_starts import STARTUP_SECONDS, WorkerStarts

LONG = 100 * STARTUP_SECONDS


def test_a_worker_that_was_never_ready_has_not_started_however_long_it_took() -> None:
    """On a slow machine, where a start fails late, failed starts are counted as well."""
    starts = WorkerStarts()
    for number in range(3):
        starts.begin([number], LONG * number)
        starts.end(number, 1, LONG * (number + 1))

    assert starts.failed == 3


@pytest.mark.parametrize(("lived", "failed"), [(0.9 * STARTUP_SECONDS, 2), (1.1 * STARTUP_SECONDS, 0)])
def test_a_ready_worker_has_started_unless_it_ends_soon(lived: float, failed: int) -> None:
    """The end of a worker that was ready and lived for a while begins the count again."""
    starts = WorkerStarts()
    starts.begin([1], 0.0)
    starts.end(1, 1, 1.0)
    starts.begin([2], 1.0)
    starts.mark_ready(2)
    starts.end(2, 1, 1.0 + lived)

    assert starts.failed == failed


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_killed_from_outside_is_no_failed_start(number: signal.Signals) -> None:
    """A hundred kills in a row do not end the service."""
    starts = WorkerStarts()
    for pid in range(100):
        starts.begin([pid], float(pid))
        starts.end(pid, -number, pid + 0.1)

    assert starts.failed == 0


def test_a_worker_that_hangs_at_its_start_has_not_started() -> None:
    """The supervisor kills a worker that does not answer: SIGKILL says nothing of its cause."""
    starts = WorkerStarts()
    starts.begin([1, 2], 0.0)
    starts.mark_ready(2)
    starts.end(1, -signal.SIGKILL, LONG, hung=True)
    assert starts.failed == 1

    starts.end(2, -signal.SIGKILL, LONG, hung=True)
    assert starts.failed == 0


def test_a_worker_is_ready_once_and_a_replaced_one_is_forgotten() -> None:
    """Workers that were not ready are listed; the system may use the id of a process again."""
    starts = WorkerStarts()
    starts.begin([1, 2], 0.0)
    starts.mark_ready(1)
    assert starts.unready() == [2]

    starts.begin([2], LONG)
    starts.begin([1, 2], LONG)
    assert starts.unready() == [1, 2]
    starts.end(1, 1, LONG + 0.1)
    assert starts.failed == 1

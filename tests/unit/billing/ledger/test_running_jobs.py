"""Tests of proxy.billing.ledger.running_jobs."""

from __future__ import annotations

from proxy.billing.ledger.running_jobs import MAX_AGE, MAX_NAMES, RunningJobs


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_name_is_new_once() -> None:
    """The ledger hears of a running job once, and again where the job had ended."""
    running = RunningJobs(Clock())

    assert running.add("app/a")
    assert not running.add("app/a")
    running.discard("app/a")
    running.discard("app/never")
    assert running.add("app/a")


def test_names_of_jobs_whose_end_is_not_seen_are_dropped() -> None:
    """A worker forgets a job whose end another one saw, with the first new name after MAX_AGE."""
    clock = Clock()
    running = RunningJobs(clock)
    running.add("app/old")
    clock.now += MAX_AGE / 2
    running.add("app/young")
    clock.now += MAX_AGE / 2 + 1
    running.add("app/new")

    assert len(running) == 2
    assert not running.add("app/young")
    assert running.add("app/old")


def test_the_oldest_name_makes_room() -> None:
    """There are MAX_NAMES at most."""
    running = RunningJobs(Clock())
    for number in range(MAX_NAMES + 10):
        running.add(f"app/{number}")

    assert len(running) == MAX_NAMES
    assert not running.add(f"app/{MAX_NAMES + 9}")
    assert running.add("app/0")

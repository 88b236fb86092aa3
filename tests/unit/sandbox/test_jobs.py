from __future__ import annotations

import dataclasses

import pytest
from support.sandbox import Clock

from proxy.sandbox.jobs import LARGE_RESULT, Job, LogEntry, Outcome, Queue, QueueSettings, State

SETTINGS = QueueSettings(queue_seconds=2, run_seconds=10, slots=1, retention=3600, large_retention=360)
GOOD = Outcome(200, b"{}", units=1.0)
BAD = Outcome(422, b"{}", error="Invalid status code: 422", error_type="missing")
LATE = Outcome(504, b"{}", error="too late", error_type="startup_timeout")


def a_queue(clock: Clock, **settings: float) -> Queue:
    return Queue(dataclasses.replace(SETTINGS, **settings), timed_out=LATE, clock=clock)  # type: ignore[arg-type]


def a_job(name: str, clock: Clock, *, low: bool = False, start_by: float | None = None) -> Job:
    return Job(name, "alice", "a/b", "a/b/c", {}, submitted=clock(), low_priority=low, start_by=start_by)


def test_a_job_waits_runs_and_completes_by_the_clock() -> None:
    """A job is IN_QUEUE, then IN_PROGRESS, then COMPLETED without its input; each change is returned once."""
    clock = Clock()
    queue, job = a_queue(clock), a_job("1", clock)
    queue.submit(job)

    assert (queue.advance().started, job.state(clock())) == ([], State.IN_QUEUE)
    clock.forward(2)
    assert (queue.advance().started, job.state(clock())) == ([job], State.IN_PROGRESS)
    queue.end(job, GOOD)
    clock.forward(9.9)
    assert (queue.advance().ended, job.state(clock())) == ([], State.IN_PROGRESS)
    clock.forward(0.1)
    assert (queue.advance().ended, job.state(clock())) == ([job], State.COMPLETED)
    assert queue.advance().ended == []
    assert job.payload is None


def test_a_failure_does_not_take_the_runs_time() -> None:
    """A job whose model refused the input is COMPLETED at once."""
    clock = Clock()
    queue, job = a_queue(clock, queue_seconds=0), a_job("1", clock)
    queue.submit(job)
    queue.advance()

    queue.end(job, BAD)

    assert job.state(clock()) is State.COMPLETED
    assert queue.advance().ended == [job]


def test_slow_work_extends_the_run() -> None:
    """A job stays IN_PROGRESS until its work ends, however late."""
    clock = Clock()
    queue, job = a_queue(clock, queue_seconds=0), a_job("1", clock)
    queue.submit(job)
    queue.advance()
    clock.forward(60)

    assert job.state(clock()) is State.IN_PROGRESS
    queue.end(job, GOOD)
    assert job.state(clock()) is State.COMPLETED


def test_slots_are_taken_in_order_and_low_priority_goes_last() -> None:
    """With one slot jobs start one after another, and later normal jobs start before a low-priority one."""
    clock = Clock()
    queue = a_queue(clock, queue_seconds=0)
    low, first, second = a_job("low", clock, low=True), a_job("first", clock), a_job("second", clock)
    for job in (low, first, second):
        queue.submit(job)

    assert [queue.position(job) for job in (first, second, low)] == [0, 1, 2]
    order = []
    for _ in range(3):
        (started,) = queue.advance().started
        order.append(started)
        queue.end(started, BAD)
    assert order == [first, second, low]


def test_a_direct_call_takes_a_slot_or_is_refused() -> None:
    """Without a free slot a direct call is refused; with one it starts at once and occupies it."""
    clock = Clock()
    queue, direct = a_queue(clock, queue_seconds=0), a_job("direct", clock)

    assert queue.start_immediately(direct)
    assert direct.state(clock()) is State.IN_PROGRESS
    assert not queue.start_immediately(a_job("other", clock))
    queue.submit(waiting := a_job("waiting", clock))
    assert queue.advance().started == []
    queue.end(direct, BAD)
    assert queue.advance().started == [waiting]


def test_a_job_that_could_not_start_in_time_times_out() -> None:
    """Past its start deadline a waiting job ends with the time-out's outcome, and never starts."""
    clock = Clock()
    queue = a_queue(clock)
    queue.submit(job := a_job("1", clock, start_by=clock() + 1))

    assert queue.next_change() == clock() + 1
    clock.forward(1)
    turn = queue.advance()

    assert (turn.started, turn.ended, job.outcome) == ([], [job], LATE)
    clock.forward(5)
    assert queue.advance().started == []


def test_a_start_deadline_is_only_for_those_who_wait() -> None:
    """A job that started in time, and one that was forgotten, are not ended by their deadline."""
    clock = Clock()
    queue = a_queue(clock, queue_seconds=0)
    queue.submit(job := a_job("1", clock, start_by=clock() + 1))
    queue.advance()

    clock.forward(1)
    assert (queue.advance().ended, job.state(clock())) == ([], State.IN_PROGRESS)
    queue.submit(a_job("2", clock, start_by=clock() + 1))
    queue.clear(BAD)
    clock.forward(1)
    assert queue.advance().ended == []


@pytest.mark.parametrize(
    ("size", "seconds"), [(LARGE_RESULT - 1, 3600), (LARGE_RESULT, 360)], ids=["just small", "just large"]
)
def test_results_expire_after_an_hour_and_large_ones_after_six_minutes(size: int, seconds: float) -> None:
    """A result is there until the last moment of its retention, and wait_disconnect after."""
    clock = Clock()
    queue, job = a_queue(clock, queue_seconds=0, run_seconds=0), a_job("1", clock)
    queue.submit(job)
    queue.advance()
    queue.end(job, Outcome(200, b"x" * size, units=1.0))
    queue.advance()

    clock.forward(seconds - 1)
    queue.advance()
    assert queue.find("alice", "a/b", "1") is job
    clock.forward(1)
    queue.advance()
    assert queue.find("alice", "a/b", "1") is None


@pytest.mark.parametrize(
    ("account", "app", "request_id"), [("bob", "a/b", "1"), ("alice", "a/x", "1"), ("alice", "a/b", "2")]
)
def test_only_the_owner_finds_a_job_and_only_under_its_app(account: str, app: str, request_id: str) -> None:
    """A job is found by account, app and id together."""
    clock = Clock()
    queue = a_queue(clock)
    queue.submit(job := a_job("1", clock))

    assert queue.find("alice", "a/b", "1") is job
    assert queue.find(account, app, request_id) is None


def test_the_length_of_a_queue_counts_one_endpoint_of_all_callers() -> None:
    """Waiting jobs of the endpoint count; running ones and other endpoints do not."""
    clock = Clock()
    queue = a_queue(clock)
    queue.submit(a_job("1", clock))
    queue.submit(dataclasses.replace(a_job("2", clock), account="bob"))
    queue.submit(dataclasses.replace(a_job("3", clock), endpoint="a/b/other"))

    assert queue.length("a/b/c") == 2
    clock.forward(2)
    queue.advance()
    assert queue.length("a/b/c") == 1


def test_the_next_change_is_the_nearest_moment_ahead() -> None:
    """The next change is the start, then a log line, then the end of the run, and None before an outcome."""
    clock = Clock()
    queue, start = a_queue(clock), clock()
    assert queue.next_change() is None
    queue.submit(job := a_job("1", clock))

    assert queue.next_change() == start + 2
    clock.forward(2)
    queue.advance()
    assert queue.next_change() is None
    job.log = [LogEntry(start + 2, "now"), LogEntry(start + 5, "later")]
    assert queue.next_change() == start + 5
    clock.forward(3)
    queue.advance()
    queue.end(job, GOOD)
    assert queue.next_change() == start + 12


def test_a_change_between_advance_and_next_change_is_returned() -> None:
    """A time that passed between the two calls is still the next change, until `advance` handles it."""
    clock = Clock()
    queue, start = a_queue(clock), clock()
    queue.submit(a_job("1", clock))
    clock.forward(1.9)
    assert queue.advance().started == []
    clock.forward(0.2)

    assert queue.next_change() == start + 2
    assert len(queue.advance().started) == 1


def test_a_log_shows_the_entries_of_its_window() -> None:
    """Entries appear when the clock passes them, leave behind the window, and stop at the end of the job."""
    clock = Clock()
    start, job = clock(), a_job("1", clock)
    job.log = [LogEntry(start + second, str(second)) for second in range(4)]

    def shown(since: float, now: float) -> list[str]:
        return [entry.message for entry in job.entries(start + since, start + now)]

    assert shown(-1, 1.5) == ["0", "1"]
    assert shown(0, 2) == ["1", "2"]
    job.ended = start + 1
    assert shown(-1, 9) == ["0", "1"]


def test_clearing_ends_every_job() -> None:
    """After a clear no job is found, and waiting and running jobs show as ended."""
    clock = Clock()
    queue = a_queue(clock, queue_seconds=0)
    queue.submit(running := a_job("1", clock))
    queue.submit(waiting := a_job("2", clock))
    queue.advance()

    queue.clear(BAD)

    assert {running.state(clock()), waiting.state(clock())} == {State.COMPLETED}
    assert queue.find("alice", "a/b", "1") is None
    assert (queue.waiting(), queue.advance().ended) == ([], [])

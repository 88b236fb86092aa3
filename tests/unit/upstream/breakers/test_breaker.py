from __future__ import annotations

import pytest

from proxy.errors import NotSent
from proxy.upstream.breakers.breaker import Call, CallEnd, UpstreamBreaker, UpstreamBreakerSettings


class Clock:
    """Seconds that move when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Calls:
    """A breaker for one kind of call, its clock and its reported changes."""

    def __init__(self, settings: UpstreamBreakerSettings | None = None) -> None:
        self.clock = Clock()
        self.changes: list[tuple[bool, str]] = []
        self.breaker = UpstreamBreaker(
            "reads",
            settings or UpstreamBreakerSettings(),
            clock=self.clock,
            on_change=lambda breaker, reason: self.changes.append((breaker.is_open, reason)),
        )

    def begin(self, caller: str) -> Call:
        call = Call(caller)
        self.breaker.begin(call)
        return call

    def make(self, caller: str, end: CallEnd, times: int = 1) -> None:
        for _ in range(times):
            self.breaker.end(self.begin(caller), end)


@pytest.mark.parametrize("end", [CallEnd.FAILED, CallEnd.NEUTRAL])
def test_one_caller_opens_nothing(end: CallEnd) -> None:
    """The breaker stays closed however many of its calls fail, also without other callers."""
    calls = Calls()
    calls.make("alice", end, 1000)

    assert not calls.breaker.is_open
    assert calls.changes == []


def test_failures_of_several_callers_open() -> None:
    """Ten failures in ten seconds, met by two callers of two."""
    calls = Calls()
    calls.make("alice", CallEnd.FAILED, 5)
    calls.make("bob", CallEnd.FAILED, 5)

    assert calls.changes == [(True, "calls of 2 of 2 callers failed")]
    with pytest.raises(NotSent):
        calls.begin("carol")


def test_a_minority_of_failing_callers_opens_nothing() -> None:
    """The share of callers decides, not the share of calls."""
    calls = Calls()
    for caller in ("carol", "dave", "erin"):
        calls.make(caller, CallEnd.ANSWERED)
    for caller in ("alice", "bob") * 50:
        calls.make(caller, CallEnd.FAILED)

    assert not calls.breaker.is_open


def test_a_caller_with_more_answers_than_failures_is_not_failing() -> None:
    """One failed job among good ones says nothing of fal."""
    calls = Calls()
    for caller in ("alice", "bob") * 20:
        calls.make(caller, CallEnd.ANSWERED, 2)
        calls.make(caller, CallEnd.FAILED)

    assert not calls.breaker.is_open


def test_failures_of_an_earlier_window_do_not_count() -> None:
    """Ten seconds later the count starts again."""
    calls = Calls()
    for caller in ("alice", "bob"):
        calls.make(caller, CallEnd.FAILED, 4)
    calls.clock.now += 10.1
    calls.make("alice", CallEnd.FAILED, 4)
    calls.make("bob", CallEnd.FAILED, 4)

    assert not calls.breaker.is_open


def test_refused_connections_open_whoever_called() -> None:
    """No caller can cause one, so five in a row are enough; an answer between them starts again."""
    calls = Calls()
    calls.make("alice", CallEnd.NOT_CONNECTED, 4)
    calls.make("alice", CallEnd.ANSWERED)
    calls.make("alice", CallEnd.NOT_CONNECTED, 4)
    assert not calls.breaker.is_open

    calls.make("alice", CallEnd.NOT_CONNECTED)
    assert calls.changes == [(True, "5 connections were refused in a row")]


def test_a_hang_opens_within_five_seconds() -> None:
    """Long before the deadlines of the calls: at the first call after four seconds without any answer."""
    calls = Calls()
    calls.begin("alice")
    calls.begin("bob")
    calls.clock.now = 3.9
    calls.begin("carol")
    assert not calls.breaker.is_open

    calls.clock.now = 4.1
    with pytest.raises(NotSent):
        calls.begin("carol")
    assert calls.changes == [(True, "3 calls wait and fal has answered none for 4 s")]


def test_one_callers_hanging_calls_open_nothing() -> None:
    """Hanging calls of one caller open no breaker, also beside young calls of others."""
    calls = Calls()
    for _ in range(50):
        calls.begin("alice")
    calls.clock.now = 60.0
    calls.begin("bob")
    calls.begin("carol")

    assert not calls.breaker.is_open


def test_answers_to_others_show_that_nothing_hangs() -> None:
    """A slow job is not fal's silence."""
    calls = Calls()
    calls.begin("alice")
    calls.begin("bob")
    for second in range(60):
        calls.clock.now = float(second)
        calls.make("carol", CallEnd.ANSWERED)

    assert not calls.breaker.is_open


def test_calls_that_may_take_long_do_not_hang() -> None:
    """A run may take minutes."""
    calls = Calls(UpstreamBreakerSettings(hang=None))
    calls.begin("alice")
    calls.begin("bob")
    calls.clock.now = 100.0
    calls.begin("carol")

    assert not calls.breaker.is_open


def test_one_probe_a_second_decides() -> None:
    """A failed probe keeps it open; the first answer closes it and clears the window."""
    calls = Calls()
    calls.make("alice", CallEnd.NOT_CONNECTED, 5)
    calls.clock.now = 1.0
    probe = calls.begin("alice")
    with pytest.raises(NotSent):
        calls.begin("bob")
    calls.breaker.end(probe, CallEnd.FAILED)
    assert calls.breaker.is_open

    calls.clock.now = 2.0
    calls.make("bob", CallEnd.ANSWERED)
    assert [is_open for is_open, _ in calls.changes] == [True, False]
    calls.make("alice", CallEnd.ANSWERED, 3)

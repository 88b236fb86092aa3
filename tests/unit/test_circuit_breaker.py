from __future__ import annotations

from dataclasses import dataclass

from proxy.circuit_breaker import Breaker, BreakerSettings


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def broken(clock: Clock, settings: BreakerSettings | None = None) -> Breaker:
    breaker = Breaker(settings or BreakerSettings(), clock=clock)
    for _ in range(20):
        breaker.record(ok=False)
    return breaker


def test_too_few_failures_change_nothing() -> None:
    """Below the minimum of calls no share of failures opens it."""
    breaker = Breaker(BreakerSettings(minimum=20), clock=Clock())
    for _ in range(19):
        breaker.record(ok=False)

    assert breaker.allows()
    assert not breaker.is_open


def test_half_of_enough_calls_open_it() -> None:
    """At the ratio it opens, below it does not."""
    breaker = Breaker(BreakerSettings(minimum=20, ratio=0.5), clock=Clock())
    for ok in [True] * 11 + [False] * 10:
        breaker.record(ok=ok)

    assert not breaker.is_open
    breaker.record(ok=False)
    assert breaker.is_open


def test_an_open_breaker_lets_one_probe_an_interval_through() -> None:
    """While open one call a second may try."""
    clock = Clock()
    breaker = broken(clock)

    assert not breaker.allows()
    clock.now += 1.0
    assert [breaker.allows(), breaker.allows()] == [True, False]


def test_a_good_probe_closes_and_a_bad_one_does_not() -> None:
    """Recovery takes one success; a failed probe keeps it open."""
    clock = Clock()
    breaker = broken(clock)
    breaker.record(ok=False)

    assert breaker.is_open
    breaker.record(ok=True)
    assert breaker.allows()


def test_old_failures_are_forgotten() -> None:
    """Failures of an earlier window do not add up with later ones."""
    clock = Clock()
    breaker = Breaker(BreakerSettings(window=10, minimum=20), clock=clock)
    for _ in range(19):
        breaker.record(ok=False)
    clock.now += 11
    breaker.record(ok=False)

    assert not breaker.is_open

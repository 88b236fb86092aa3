"""Tests of proxy.http.server.load_limit."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from proxy.http.server.load_limit import TICK, LoadLimit, Rank

LATE = 0.2  # seconds, four times the accepted lag
COUNTED = [Rank.UNAUTHENTICATED, Rank.POLL, Rank.STREAM, Rank.RESULT, Rank.SUBMIT]


class Loop:
    """Ticks of an event loop."""

    def __init__(self, load_limit: LoadLimit) -> None:
        self.load_limit = load_limit
        self.now = 100.0

    def run(self, seconds: float, lags: Iterator[float] | float, in_flight: int) -> None:
        until = self.now + seconds
        while self.now < until:
            lag = lags if isinstance(lags, float) else next(lags)
            self.now += TICK + lag
            self.load_limit.observe(lag, in_flight, self.now)


@pytest.fixture
def changes() -> list[bool]:
    return []


@pytest.fixture
def loop(changes: list[bool]) -> Loop:
    return Loop(LoadLimit(max_lag=0.05, floor=32, on_change=changes.append))


def stalls() -> Iterator[float]:
    """A process that another one keeps off the processor for most of the time."""
    while True:
        yield from (0.3, 0.3, 0.001)


def test_a_loop_that_is_always_late_with_many_requests_is_limited(loop: Loop, changes: list[bool]) -> None:
    """The limit comes down to the floor, and not below it."""
    loop.run(1, LATE, 500)
    first = loop.load_limit.most
    loop.run(60, LATE, 500)

    assert 32 < first < 500
    assert loop.load_limit.most == 32
    assert changes == [True]


def test_single_stalls_are_no_overload(loop: Loop) -> None:
    """A busy machine delays most of the looks, and the one in time shows that nothing waits."""
    loop.run(60, stalls(), 500)

    assert loop.load_limit.most == math.inf


def test_few_requests_are_no_overload(loop: Loop) -> None:
    """However late the loop is: there is nothing to refuse."""
    loop.run(60, 1.0, 32)

    assert loop.load_limit.begins_at == math.inf


def test_the_limit_ends_a_second_after_the_load(loop: Loop, changes: list[bool]) -> None:
    """While many requests are in flight it rises step by step; then it is gone."""
    loop.run(10, LATE, 500)
    low = loop.load_limit.most
    loop.run(1, 0.0, 40)
    higher = loop.load_limit.most
    loop.run(2, 0.0, 20)

    assert low < higher < math.inf
    assert loop.load_limit.most == math.inf
    assert changes == [True, False]


def test_requests_are_refused_in_order(loop: Loop) -> None:
    """The more is in flight, the more kinds are refused. A cancel never is."""
    loop.run(10, LATE, 500)
    load_limit = loop.load_limit
    admitted = [{rank for rank in Rank if not load_limit.refuses(rank, in_flight)} for in_flight in range(0, 100)]
    sizes = [len(ranks) for ranks in admitted]

    assert admitted[0] == {*Rank}
    assert admitted[-1] == {Rank.KEPT}
    assert sizes == sorted(sizes, reverse=True)
    assert all(ranks == {Rank.KEPT, *COUNTED[len(COUNTED) - len(ranks) + 1 :]} for ranks in admitted)
    assert load_limit.refused[Rank.UNAUTHENTICATED] > load_limit.refused[Rank.POLL] > load_limit.refused[Rank.SUBMIT]


@pytest.mark.parametrize(("crowd", "other"), [(Rank.POLL, Rank.SUBMIT), (Rank.SUBMIT, Rank.RESULT)])
def test_neither_reads_nor_submits_take_all_there_is(loop: Loop, crowd: Rank, other: Rank) -> None:
    """One kind that has used up its share leaves room for the other, and each answer makes room."""
    loop.run(10, LATE, 500)
    load_limit = loop.load_limit
    admitted = 0
    while not load_limit.refuses(crowd, admitted):
        load_limit.enter(crowd)
        admitted += 1
    has_room = not load_limit.refuses(other, admitted)
    load_limit.leave(crowd)

    assert 0 < admitted < 32
    assert has_room
    assert not load_limit.refuses(crowd, admitted)


def test_open_streams_take_no_share(loop: Loop) -> None:
    """A stream is open for minutes; the polls beside it are not limited by it."""
    loop.run(10, LATE, 500)

    for _ in range(1000):
        loop.load_limit.enter(Rank.STREAM)

    assert not loop.load_limit.refuses(Rank.STREAM, 0)
    assert not loop.load_limit.refuses(Rank.POLL, 0)

"""Tests of proxy.http.server.load_limit."""

from __future__ import annotations

import math

import pytest

from proxy.http.server.load_limit import TICK, LoadLimit, Rank

COUNTED = [Rank.UNAUTHENTICATED, Rank.POLL, Rank.STREAM, Rank.RESULT, Rank.SUBMIT]
COST = 0.001  # CPU seconds of a request
WAIT = 0.5  # twice the time that the limit gives


class Process:
    """A process with a *share* of a CPU, whose requests cost COST each."""

    def __init__(self, changes: list[bool]) -> None:
        self.load_limit = LoadLimit(max_wait=WAIT / 2, floor=24, on_change=changes.append)
        self.now = 100.0
        self.in_flight = 0
        self._rest = 0.0  # of CPU time that was not enough for a whole request

    def run(self, seconds: float, *, rate: float, share: float = 1.0, turn: float = 0.1) -> float:
        """Offers *rate* submits a second; returns how many a second were answered.

        *turn* is the time of one turn of the event loop while it is busy.
        """
        until, total = self.now + seconds, 0
        arrivals = 0.0
        while self.now < until:
            busy = self.in_flight * COST > share * TICK
            elapsed = max(TICK, turn) if busy else TICK
            arrivals += rate * elapsed
            for _ in range(int(arrivals)):
                self.in_flight += not self.load_limit.refuses(Rank.SUBMIT, self.in_flight)
            arrivals -= int(arrivals)
            available = share * elapsed + self._rest
            answered = min(self.in_flight, int(available / COST))
            cpu = answered * COST + 0.0002
            self._rest = min(COST, available - answered * COST)
            self.in_flight -= answered
            total += answered
            self.now += elapsed
            self.load_limit.observe(elapsed - TICK, self.now, cpu=cpu, answered=answered, in_flight=self.in_flight)
        return total / max(seconds, TICK)

    @property
    def wait(self) -> float:
        """Seconds that a request taken on now would wait, at a share of 1."""
        return self.in_flight * COST


@pytest.fixture
def changes() -> list[bool]:
    return []


@pytest.fixture
def process(changes: list[bool]) -> Process:
    return Process(changes)


@pytest.mark.parametrize("share", [1.0, 0.15])
@pytest.mark.parametrize("factor", [3, 5])
def test_an_overload_is_cut_to_what_is_answered_in_time(
    process: Process, share: float, factor: int, changes: list[bool]
) -> None:
    """A process with a part of a CPU takes on as much less; both answer all they can."""
    peak = share / COST
    process.run(2, rate=peak, share=share)
    served = process.run(30, rate=factor * peak, share=share)

    assert served > 0.95 * peak
    assert process.wait / share < 2 * WAIT
    assert changes == [True]


@pytest.mark.parametrize("share", [1.0, 0.15])
def test_an_overload_out_of_the_blue_is_cut_within_a_second(process: Process, share: float) -> None:
    """Nothing was measured before; what is let in until then is bounded."""
    process.run(1, rate=5 * share / COST, share=share)

    assert process.in_flight * COST / share < 5 * WAIT


def test_a_load_that_is_answered_is_not_limited(process: Process, changes: list[bool]) -> None:
    """Nine tenths of what can be answered."""
    served = process.run(30, rate=0.9 / COST)

    assert served == pytest.approx(0.9 / COST, rel=0.02)
    assert not changes


@pytest.mark.parametrize("before", [0, 30], ids=["fresh", "idle"])
def test_a_burst_that_is_answered_in_time_is_taken_on(process: Process, before: float) -> None:
    """200 at once, after nothing and after half a minute of very little."""
    process.run(before, rate=1)

    assert not any(process.load_limit.refuses(Rank.SUBMIT, number) for number in range(200))


@pytest.mark.parametrize(("cpu", "is_taken"), [(0.09, True), (0.01, False)], ids=["busy", "without-a-cpu"])
def test_a_late_process_takes_a_burst_only_with_a_cpu(process: Process, cpu: float, is_taken: bool) -> None:
    """Two late ticks in a row end the burst where others had the CPU, not where this process has used it."""
    process.run(20, rate=0.9 / COST)
    limits = []
    for _ in range(2):
        process.now += 0.1
        process.load_limit.observe(0.1 - TICK, process.now, cpu=cpu, answered=round(cpu / COST), in_flight=0)
        limits.append(process.load_limit.most)
    is_starved = process.load_limit.is_starved
    process.load_limit.observe(0.0, process.now + TICK, cpu=0.001, answered=1, in_flight=0)

    assert (limits[1] > 0.6 * limits[0]) is is_taken
    assert is_starved is not is_taken
    assert not process.load_limit.is_starved


def test_stalls_of_a_busy_machine_are_no_overload(process: Process, changes: list[bool]) -> None:
    """All that has come in 0.3 s without the processor is taken on."""
    for _ in range(20):
        process.run(2.5, rate=0.4 / COST)
        process.now += 0.3
        process.load_limit.observe(0.3, process.now, cpu=0.001, answered=0, in_flight=process.in_flight)
        for _ in range(int(0.3 * 0.4 / COST)):
            process.in_flight += not process.load_limit.refuses(Rank.SUBMIT, process.in_flight)

    assert process.load_limit.refused.total() == 0
    assert not changes


def test_few_requests_are_no_overload(process: Process) -> None:
    """However late the loop is: there is nothing to refuse."""
    process.run(20, rate=1, share=0.01)

    assert process.load_limit.most >= 24
    assert not process.load_limit.refuses(Rank.POLL, 14)


def test_no_limit_without_shedding(process: Process) -> None:
    """An infinite floor switches it off."""
    process.load_limit.floor = math.inf
    process.run(5, rate=5 / COST)

    assert process.load_limit.refused.total() == 0


def test_the_overload_ends_a_second_after_the_last_refusal(process: Process, changes: list[bool]) -> None:
    """Begin and end are reported once."""
    process.run(10, rate=5 / COST)
    process.run(0.5, rate=0.5 / COST)
    before = list(changes)
    process.run(2, rate=0.5 / COST)

    assert before == [True]
    assert changes == [True, False]


def test_the_share_of_a_cpu_comes_back(process: Process) -> None:
    """Some minutes after another program has left, as many requests are taken on as before."""
    process.run(10, rate=5 / COST, share=0.1)
    low = process.load_limit.most
    process.run(300, rate=0.5 / COST)

    assert low < 100
    assert process.load_limit.most > 400


def limited(most: float = 24.0) -> LoadLimit:
    load_limit = LoadLimit(floor=0)
    load_limit.most, load_limit.begins_at = most, most / 2
    return load_limit


def test_requests_are_refused_in_order() -> None:
    """The more is in flight, the more kinds are refused. A cancel never is."""
    load_limit = limited()
    admitted = [{rank for rank in Rank if not load_limit.refuses(rank, in_flight)} for in_flight in range(0, 100)]
    sizes = [len(ranks) for ranks in admitted]

    assert admitted[0] == {*Rank}
    assert admitted[-1] == {Rank.KEPT}
    assert sizes == sorted(sizes, reverse=True)
    assert all(ranks == {Rank.KEPT, *COUNTED[len(COUNTED) - len(ranks) + 1 :]} for ranks in admitted)
    assert load_limit.refused[Rank.UNAUTHENTICATED] > load_limit.refused[Rank.POLL] > load_limit.refused[Rank.SUBMIT]


@pytest.mark.parametrize(("crowd", "other"), [(Rank.POLL, Rank.SUBMIT), (Rank.SUBMIT, Rank.RESULT)])
def test_neither_reads_nor_submits_take_all_there_is(crowd: Rank, other: Rank) -> None:
    """One kind that has used up its share leaves room for the other, and each answer makes room."""
    load_limit, admitted = limited(), 0
    while not load_limit.refuses(crowd, admitted):
        load_limit.enter(crowd)
        admitted += 1
    has_room = not load_limit.refuses(other, admitted)
    load_limit.leave(crowd)

    assert 0 < admitted < 32
    assert has_room
    assert not load_limit.refuses(crowd, admitted)


def test_what_waits_for_fal_takes_no_share() -> None:
    """A thousand submits that wait for a slow fal leave room for the next."""
    load_limit = limited()
    for _ in range(1000):
        load_limit.enter(Rank.SUBMIT)

    assert not load_limit.refuses(Rank.SUBMIT, 12, waiting=1000)
    assert load_limit.refuses(Rank.SUBMIT, 12)


def test_open_streams_take_no_share() -> None:
    """A stream is open for minutes; the polls beside it are not limited by it."""
    load_limit = limited()
    for _ in range(1000):
        load_limit.enter(Rank.STREAM)

    assert not load_limit.refuses(Rank.STREAM, 12)
    assert not load_limit.refuses(Rank.POLL, 12)

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.http.server.limits import ConnectionLimits
from proxy.http.server.timeouts import ANSWER, BODY, ENDED, HEAD, IDLE, ConnectionState, RequestTimeouts

# Binary fractions, so that a moment is exactly the last one or the first.
LIMITS = ConnectionLimits(head_time=10, body_time=30, keep_alive=75, linger=0.5, closing=2, min_rate=100, rate_grace=5)
START = 1000.0
LATER = START + 7


def timeouts() -> RequestTimeouts:
    """Returns the timeouts of a connection that was made at START."""
    return RequestTimeouts(LIMITS, START)


def reading(timeouts: RequestTimeouts) -> None:
    """A body that arrives faster than the limit."""
    timeouts.start_body(LATER)
    timeouts.content = 1_000_000


# (what happens, the phase after it, the seconds after LATER when time is up)
WAITS: dict[str, tuple[Callable[[RequestTimeouts], None], ConnectionState, float]] = {
    "made": (lambda timeouts: None, HEAD, 3),
    "a-head": (lambda timeouts: timeouts.start_head(LATER), HEAD, 10),
    "a-body": (reading, BODY, 30),
    "a-next-request": (lambda timeouts: timeouts.start_idle(LATER), IDLE, 75),
    "its-end": (lambda timeouts: timeouts.start_linger(LATER), ENDED, 0.5),
}


@pytest.mark.parametrize("name", WAITS)
def test_each_wait_has_its_own_end(name: str) -> None:
    """Not a moment before, and from then on; the wait before it does not count."""
    happens, phase, seconds = WAITS[name]
    waiting = timeouts()
    happens(waiting)

    assert waiting.phase is phase
    moments = [LATER, LATER + seconds - 0.25, LATER + seconds, LATER + seconds + 1000]
    assert [waiting.expired(moment) for moment in moments] == [False, False, True, True]


def test_an_answer_is_waited_for_as_long_as_it_takes() -> None:
    """Deadlines for it are the application's."""
    waiting = timeouts()
    waiting.start_body(START)
    waiting.start_response()

    assert waiting.phase is ANSWER
    assert not waiting.expired(START + 1e9)


# (seconds since the head, bytes of the body so far, whether that is too slow): 100 a second after a grace of 5
PACES = [
    (0, 0, False),
    (5, 0, False),
    (5.25, 0, True),
    (6, 99, True),
    (6, 100, False),
    (25, 1999, True),
    (25, 2000, False),
    (29.75, 2475, False),
    (30, 1_000_000, True),
]


@pytest.mark.parametrize(("seconds", "content", "over"), PACES)
def test_a_body_keeps_its_rate(seconds: float, content: int, over: bool) -> None:
    """Of the whole body since its head, the grace aside; and its deadline stands however fast it comes."""
    waiting = timeouts()
    waiting.start_body(LATER)
    waiting.content = content

    assert waiting.expired(LATER + seconds) is over


def test_a_next_body_owes_nothing_for_the_one_before() -> None:
    """A next body neither owes nor gains time by the last one."""
    waiting = timeouts()
    waiting.start_body(START)
    waiting.content = 1_000_000
    waiting.start_body(LATER)

    assert not waiting.expired(LATER + 5)
    assert waiting.expired(LATER + 6)


@pytest.mark.parametrize("name", ["a-head", "a-next-request", "its-end"])
def test_only_a_body_has_a_rate(name: str) -> None:
    """A connection in another state is not late for missing content."""
    happens, _, seconds = WAITS[name]
    waiting = timeouts()
    waiting.start_body(START)
    happens(waiting)

    assert not waiting.expired(LATER + seconds - 0.25)


@pytest.mark.parametrize(
    ("since", "hurried", "over"), [(0, 1, 3), (0, 9, 10), (0, 8, 10)], ids=["sooner", "already-sooner", "as-soon"]
)
def test_a_hurry_only_ever_shortens(since: float, hurried: float, over: float) -> None:
    """The rest must come within the closing time, or by the deadline that stood."""
    waiting = timeouts()
    waiting.start_head(START + since)
    waiting.shorten(START + hurried)

    assert [waiting.expired(START + moment) for moment in (over - 0.25, over)] == [False, True]
    assert waiting.phase is HEAD


def test_a_hurried_body_still_keeps_its_rate() -> None:
    """The hurry is on top."""
    waiting = timeouts()
    waiting.start_body(START)
    waiting.shorten(START + 5)

    assert [waiting.expired(START + moment) for moment in (5, 5.25)] == [False, True]


def test_a_connection_is_idle_after_a_moment_of_its_own() -> None:
    """Each time has a value of its own, and a request in between ends it."""
    state = timeouts()
    periods = [state.idle_period(LATER)]
    state.start_idle(LATER)
    periods += [state.idle_period(LATER), state.idle_period(LATER + 0.5)]
    first = state.idle_period(LATER + 1)
    state.start_head(LATER + 2)
    periods += [state.idle_period(LATER + 9)]
    state.start_idle(LATER + 10)
    second = state.idle_period(LATER + 20)

    assert periods == [None] * 4
    assert None not in (first, second)
    assert first != second

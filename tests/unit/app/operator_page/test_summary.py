from __future__ import annotations

import pytest

from proxy.app.operator_page.history import DAY
from proxy.app.operator_page.report import Bars, Gauges, LedgerState, Pause, RecentRequest, Report, StoreState
from proxy.app.operator_page.summary import quantile, summarize
from proxy.strict_json import Json

NOW = 20_000.0 * DAY + 3600


def gauges(**changes: object) -> Gauges:
    state = Gauges(
        active=1,
        streams=2,
        connections=3,
        draining=False,
        breakers={"submits": False, "reads": False},
        keys=["default"],
        pauses=[],
        store=StoreState(breaker_open=False, failures=1, pending=0),
        ledger=LedgerState(failures=2, queue=0, notices=[]),
    )
    return state.model_copy(update=changes)


def request(request_id: str, at: float, *, status: int = 200) -> RecentRequest:
    return RecentRequest(
        at=at,
        request_id=request_id,
        method="GET",
        action="status",
        endpoint=None,
        user=None,
        status=status,
        kind=0,
        error_type=None,
        reason=None,
        outcome=None,
        would_deny=None,
        ended=None,
        fal_ms=None,
        total_ms=1.0,
        response_bytes=1,
    )


def bars(end: int, answered: list[int], committed: list[float] | None = None) -> Bars:
    nothing = [0] * len(answered)
    return Bars(
        end=end, answered=answered, refused=nothing, failed=nothing, committed=committed or [0.0] * len(answered)
    )


def report(pid: int, **changes: object) -> Report:
    value = Report(
        pid=pid,
        started=NOW - 60,
        day=int(NOW // DAY),
        total=10,
        statuses={"200": 8, "404": 2},
        refusals={"job_not_found": 2},
        bars={},
        waits={},
        recent=[],
        gauges=gauges(),
    )
    return value.model_copy(update=changes)


def summary(*reports: Report) -> dict[str, Json]:
    return summarize(reports, now=NOW, day=int(NOW // DAY))


def test_counts_of_today_are_added() -> None:
    """An ended worker counts for what it did, another day does not; refusals are in order of number."""
    ended = report(2, gauges=None, statuses={"200": 1, "502": 3}, refusals={"upstream_failed": 3})
    found = summary(report(1), ended, report(3, day=1))

    assert found["requests"] == {
        "total": 14,
        "answered": 9,
        "refused": 2,
        "failed": 3,
        "by_status": {"200": 9, "404": 2, "502": 3},
    }
    assert found["refusals"] == [
        {"error_type": "upstream_failed", "count": 3},
        {"error_type": "job_not_found", "count": 2},
    ]
    assert [worker["pid"] for worker in found["workers"] if isinstance(worker, dict)] == [1, 3]  # type: ignore[union-attr]


def hour_values(found: dict[str, Json], kind: str) -> list[Json]:
    """Returns the values of the bars of the last hour."""
    bars = found["bars"]
    assert isinstance(bars, dict)
    hour = bars["hour"]
    assert isinstance(hour, dict)
    values = hour[kind]
    assert isinstance(values, list)
    return values


def test_bars_of_the_same_minute_are_added() -> None:
    """Bars of a report that is a minute older are moved."""
    last = int(NOW // 60)
    one = report(1, bars={"hour": bars(last, [1, 2, 3])})
    two = report(2, bars={"hour": bars(last - 1, [10, 20, 30])})
    answered = hour_values(summary(one, two), "answered")

    assert answered[-4:] == [10, 21, 32, 3]
    assert len(answered) == 60


def test_the_spend_of_a_bar_is_taken_from_one_worker() -> None:
    """Each worker sees all of it: the oldest that saw the whole bar counts, and the largest in the last."""
    last = int(NOW // 60)
    old = report(1, started=NOW - 130, gauges=None, bars={"hour": bars(last - 1, [0, 0, 0], [1.0, 2.0, 3.0])})
    new = report(2, started=NOW - 100, bars={"hour": bars(last, [0, 0, 0], [9.0, 3.5, 1.0])})
    young = report(3, started=NOW - 1, bars={"hour": bars(last, [0, 0, 0], [0.0, 9.0, 1.5])})

    assert hour_values(summary(young, new, old), "committed")[-4:] == [1.0, 2.0, 3.5, 1.5]


def test_waits_are_ranked_over_all_workers() -> None:
    """The quantiles are those of all waits together, and of each operation."""
    one = report(1, waits={"status": [float(n) for n in range(1, 51)]})
    two = report(2, waits={"status": [float(n) for n in range(51, 101)], "submit": [500.0], "run": []})

    assert summary(one, two)["fal"] == {
        "calls": 101,
        "p50": 51.0,
        "p99": 100.0,
        "operations": [
            {"action": "status", "calls": 100, "p50": 50.0, "p99": 99.0},
            {"action": "submit", "calls": 1, "p50": 500.0, "p99": 500.0},
        ],
    }
    assert summary(report(1))["fal"] == {"calls": 0, "p50": None, "p99": None, "operations": []}


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 2.0), (0.51, 3.0), (0.99, 4.0), (1.0, 4.0)])
def test_the_nearest_rank(share: float, value: float) -> None:
    """A quantile is one of the values, never one between them."""
    assert quantile([1.0, 2.0, 3.0, 4.0], share) == value


def test_states_of_workers() -> None:
    """Breakers, pauses and notices of the workers are put together, and the ended ones have none."""
    paused = gauges(
        breakers={"submits": True, "reads": False},
        keys=["default", "second"],
        pauses=[Pause(key="second", scope="", cause="locked")],
        ledger=LedgerState(failures=1, queue=4, notices=["a full disk"]),
        store=StoreState(breaker_open=True, failures=5, pending=6),
    )
    found = summary(report(1), report(2, gauges=paused), report(3, gauges=None))

    assert found["breakers"] == [{"kind": "submits", "open_in": 1}, {"kind": "reads", "open_in": 0}]
    assert found["pauses"] == [{"key": "second", "scope": None, "cause": "locked", "workers": 1}]
    assert found["keys"] == ["default", "second"]
    assert found["store"] == {"breaker_open_in": 1, "failures": 6, "pending": 6}
    assert found["ledger"] == {"failures": 3, "queue": 4, "notices": ["a full disk"]}
    assert summary(report(1, gauges=gauges(store=None)))["store"] is None


def test_the_newest_requests_of_all_workers() -> None:
    """The last 200 are listed by their end, the newest first, each with its worker."""
    one = report(1, recent=[request(f"a{n}", NOW + 2 * n) for n in range(150)])
    two = report(2, recent=[request(f"b{n}", NOW + 2 * n + 1) for n in range(150)])
    recent = summary(one, two)["recent"]
    assert isinstance(recent, list)

    assert len(recent) == 200
    assert [(r["request_id"], r["worker"]) for r in recent[:3] if isinstance(r, dict)] == [
        ("b149", 2),
        ("a149", 1),
        ("b148", 2),
    ]


def test_old_requests_of_an_ended_worker_are_left_out() -> None:
    """Recent requests that ended before the operator's limit are not shown, whichever worker left them."""
    left = report(2, gauges=None, recent=[request("old", NOW - 7200), request("young", NOW - 60)])
    found = summarize([report(1), left], now=NOW, day=int(NOW // DAY), recent_since=NOW - 3600)

    recent = found["recent"]
    assert isinstance(recent, list)
    assert [one["request_id"] for one in recent if isinstance(one, dict)] == ["young"]

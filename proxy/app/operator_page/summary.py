"""Sum of the reports of all workers, as JSON for the operator page. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from proxy.app.operator_page.history import RANGES, status_class
from proxy.app.operator_page.report import Bars, Gauges, RecentRequest, Report
from proxy.billing.shortfalls import rfc3339
from proxy.strict_json import Json
from proxy.telemetry.recent_requests import KEPT_REQUESTS


def summarize(reports: Sequence[Report], *, now: float, day: int, recent_since: float = -math.inf) -> dict[str, Json]:
    """Returns the counts of *day* (days since 1970) over all *reports*, and the state of the live workers.

    *now* is in unix seconds, and so is *recent_since*: requests that ended before it are left out of the recent ones.
    A worker that has ended counts for what it did.
    """
    live = [(report, report.gauges) for report in reports if report.gauges is not None]
    today = [report for report in reports if report.day == day]
    gauges = [state for _, state in live]
    return {
        "requests": _requests(today),
        "refusals": _most_frequent("error_type", (report.refusals for report in today)),
        "bars": {name: _bars(name, reports, now) for name in RANGES},
        "fal": _waits(reports),
        "workers": [_worker(report, state) for report, state in sorted(live, key=lambda pair: pair[0].pid)],
        "breakers": _breakers(gauges),
        "keys": list[Json](dict.fromkeys(chain.from_iterable(state.keys for state in gauges))),
        "pauses": _pauses(gauges),
        "store": _store(gauges),
        "ledger": _ledger(gauges),
        "recent": _recent(reports, recent_since),
    }


def quantile(ordered: Sequence[float], share: float) -> float:
    """Returns the value of *ordered* below or at which *share* of them are (nearest rank)."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _requests(reports: Iterable[Report]) -> dict[str, Json]:
    statuses: Counter[str] = Counter()
    for report in reports:
        statuses.update(report.statuses)
    classes = [0, 0, 0]
    for status, count in statuses.items():
        classes[status_class(status)] += count
    return {
        "total": statuses.total(),
        "answered": classes[0],
        "refused": classes[1],
        "failed": classes[2],
        "by_status": {status: statuses[status] for status in sorted(statuses)},
    }


def _most_frequent(name: str, counts: Iterable[Mapping[str, int]]) -> list[Json]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    by_count = sorted(total.items(), key=lambda item: (-item[1], item[0]))
    return [{name: value, "count": count} for value, count in by_count]


def _bars(name: str, reports: Sequence[Report], now: float) -> dict[str, Json]:
    """Adds bars of the same time. Each worker sees the whole spend, so that of one is taken."""
    step, number = RANGES[name]
    last = int(now // step)
    sums = {kind: [0] * number for kind in ("answered", "refused", "failed")}
    committed: list[tuple[bool, float, float]] = [(True, math.inf, 0.0)] * number
    for report in (report for report in reports if name in report.bars):
        bars = report.bars[name]
        for index, place in _places(bars, last, number):
            sums["answered"][place] += bars.answered[index]
            sums["refused"][place] += bars.refused[index]
            sums["failed"][place] += bars.failed[index]
            # The worker that saw the whole bar, and of several the oldest: their readings are not of one moment.
            start = (last - number + 1 + place) * step
            is_part = report.started > start or (report.gauges is None and index == len(bars.answered) - 1)
            committed[place] = min(committed[place], (is_part, report.started, bars.committed[index]))
    spend = [value for _, _, value in committed]
    spend[-1] = max(
        (report.bars[name].committed[-1] for report in reports if _has_bar(report, name, last)), default=0.0
    )
    return {"step": step, "end": last * step, **{k: list[Json](v) for k, v in sums.items()}, "committed": [*spend]}


def _has_bar(report: Report, name: str, last: int) -> bool:
    return name in report.bars and report.bars[name].end == last


def _places(bars: Bars, last: int, number: int) -> Iterable[tuple[int, int]]:
    """Yields the index of each bar and its place among *number* bars of which *last* is the last one."""
    for index in range(len(bars.answered)):
        place = number - 1 - (last - (bars.end - len(bars.answered) + 1 + index))
        if 0 <= place < number:
            yield index, place


def _waits(reports: Iterable[Report]) -> dict[str, Json]:
    by_action: dict[str, list[float]] = {}
    for report in reports:
        for action, waits in report.waits.items():
            by_action.setdefault(action, []).extend(waits)
    operations: list[Json] = [
        {"action": action, **_quantiles(waits)}
        for action, waits in sorted(by_action.items(), key=lambda item: -len(item[1]))
        if waits
    ]
    return {**_quantiles([*chain.from_iterable(by_action.values())]), "operations": operations}


def _quantiles(waits: list[float]) -> dict[str, Json]:
    if not waits:
        return {"calls": 0, "p50": None, "p99": None}
    ordered = sorted(waits)
    return {"calls": len(ordered), "p50": quantile(ordered, 0.5), "p99": quantile(ordered, 0.99)}


def _worker(report: Report, state: Gauges) -> Json:
    return {
        "pid": report.pid,
        "started_at": rfc3339(report.started),
        "requests": report.total,
        "active": state.active,
        "streams": state.streams,
        "connections": state.connections,
        "draining": state.draining,
    }


def _breakers(states: Sequence[Gauges]) -> list[Json]:
    kinds = dict.fromkeys(chain.from_iterable(state.breakers for state in states))
    return [{"kind": kind, "open_in": sum(state.breakers.get(kind, False) for state in states)} for kind in kinds]


def _pauses(states: Iterable[Gauges]) -> list[Json]:
    pauses = Counter((one.key, one.scope, one.cause) for state in states for one in state.pauses)
    return [
        {"key": key, "scope": scope or None, "cause": cause, "workers": count}
        for (key, scope, cause), count in pauses.items()
    ]


def _store(states: Iterable[Gauges]) -> Json:
    stores = [state.store for state in states if state.store is not None]
    if not stores:
        return None
    return {
        "breaker_open_in": sum(store.breaker_open for store in stores),
        "failures": sum(store.failures for store in stores),
        "pending": sum(store.pending for store in stores),
    }


def _ledger(states: Iterable[Gauges]) -> Json:
    ledgers = [state.ledger for state in states]
    return {
        "failures": sum(ledger.failures for ledger in ledgers),
        "queue": sum(ledger.queue for ledger in ledgers),
        "notices": list[Json](dict.fromkeys(chain.from_iterable(ledger.notices for ledger in ledgers))),
    }


def _recent(reports: Iterable[Report], since: float) -> list[Json]:
    """Returns the newest requests of all workers, the newest first.

    A worker that has ended leaves some that ended before *since*.
    """
    newest = sorted(((one, report.pid) for report in reports for one in report.recent), key=_end, reverse=True)
    return [_request(*pair) for pair in newest[:KEPT_REQUESTS] if _end(pair) >= since]


def _request(one: RecentRequest, pid: int) -> Json:
    return {**one.model_dump(exclude={"at"}), "at": rfc3339(one.at), "worker": pid}


def _end(pair: tuple[RecentRequest, int]) -> float:
    return pair[0].at + pair[0].total_ms / 1000

from __future__ import annotations

from proxy.app.operator_page.history import DAY, History, Totals

MIDNIGHT = 20_000 * DAY


class Counts:
    """Totals that a test sets."""

    def __init__(self) -> None:
        self.statuses: dict[str, int] = {}
        self.refusals: dict[str, int] = {}

    def totals(self) -> Totals:
        return Totals(dict(self.statuses), dict(self.refusals))


def test_bars_by_minute_and_outcome() -> None:
    """Requests are in the bar of their minute: 4xx refused, 5xx failed, a caller who left is neither."""
    counts = Counts()
    history = History(counts.totals)
    for minute in range(3):
        history.sample(MIDNIGHT + 60 * minute, None)
        counts.statuses = {"200": 10 * (minute + 1), "404": minute, "502": minute, "499": 1}
    bars = history.bars("hour", MIDNIGHT + 150)

    assert (bars.end, len(bars.answered)) == ((MIDNIGHT + 150) // 60, 60)
    assert (bars.answered[-3:], bars.refused[-3:], bars.failed[-3:]) == ([11, 10, 10], [0, 1, 1], [0, 1, 1])
    assert sum(bars.answered) == 31


def test_a_day_has_bars_of_a_quarter_of_an_hour() -> None:
    """Readings of more than a day are forgotten, and the bars of the last one are whole."""
    counts = Counts()
    history = History(counts.totals)
    for minute in range(2000):
        counts.statuses = {"200": minute}
        history.sample(MIDNIGHT + 60 * minute, None)
    bars = history.bars("day", MIDNIGHT + 60 * 1999)

    assert len(bars.answered) == 96
    assert set(bars.answered[:-1]) == {15}


def test_spend_is_counted_from_the_first_reading() -> None:
    """Midnight begins a new sum, a refund is no negative bar, a reading without ledger changes nothing."""
    history = History(Counts().totals)
    before = MIDNIGHT - 60
    history.sample(before - 60, None)
    history.sample(before, 100.0)
    history.sample(MIDNIGHT, 0.5)
    history.sample(MIDNIGHT + 60, None)
    history.sample(MIDNIGHT + 120, 3.0)
    history.sample(MIDNIGHT + 180, 2.0)
    bars = history.bars("hour", MIDNIGHT + 190, 2.25)

    assert bars.committed[-5:] == [0.5, 0.0, 2.5, 0.0, 0.25]
    assert sum(bars.committed[:-5]) == 0


def test_a_day_without_the_ledger_subtracts_nothing_of_the_day_before() -> None:
    """After a midnight at which the ledger did not answer, the first reading is the growth of the new day."""
    history = History(Counts().totals)
    history.sample(MIDNIGHT - 60, 100.0)
    history.sample(MIDNIGHT, None)
    history.sample(MIDNIGHT + 60, 1.0)

    assert history.bars("hour", MIDNIGHT + 61).committed[-2:] == [1.0, 0.0]


def test_today_begins_at_midnight() -> None:
    """A process that ran before midnight counts from then; a young process has all of its own."""
    counts = Counts()
    history = History(counts.totals)
    counts.statuses, counts.refusals = {"200": 5, "404": 1}, {"job_not_found": 1}
    young = history.today(MIDNIGHT - 61)
    history.sample(MIDNIGHT - 60, None)
    history.sample(MIDNIGHT, None)
    counts.statuses, counts.refusals = {"200": 7, "404": 1}, {"job_not_found": 1, "validation_error": 2}

    assert (young.statuses, young.refusals) == ({"200": 5, "404": 1}, {"job_not_found": 1})
    assert history.today(MIDNIGHT + 1) == Totals({"200": 2}, {"validation_error": 2})

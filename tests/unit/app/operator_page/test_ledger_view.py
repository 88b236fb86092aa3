from __future__ import annotations

from datetime import date

from support.ledger_suite import NOW, call_request, charge

from proxy.app.operator_page.ledger_view import MAX_USERS, LedgerView
from proxy.billing.ledger.interface import DailyUsage
from proxy.billing.ledger.money import MICRO
from proxy.billing.ledger.sqlite_ledger import SqliteLedger
from proxy.errors import StoreAway


class CountedLedger(SqliteLedger):
    """Ledger with *lines* for a report, which counts the reports; *away* makes it fail."""

    def __init__(self, *lines: DailyUsage) -> None:
        super().__init__()
        self.lines, self.reports, self.away = lines, 0, False

    async def report(self, *, since: date, until: date) -> tuple[DailyUsage, ...]:
        self.reports += 1
        if self.away:
            raise StoreAway(reason="away")
        return self.lines


def line(user: str, used: int, reserved: int = 0) -> DailyUsage:
    return DailyUsage(date(2026, 1, 1), user, "e", 1, used * MICRO, reserved * MICRO, 0, 0, 0)


class Clocks:
    def __init__(self) -> None:
        self.wall, self.steady = NOW, 0.0

    def view(self, ledger: SqliteLedger) -> LedgerView:
        return LedgerView(ledger, clock=lambda: self.wall, monotonic=lambda: self.steady)


async def test_users_who_spent_most_come_first() -> None:
    """Lines of one user are added, and only the first of many users are listed."""
    users = [line(f"user{number}", 1) for number in range(2500)]
    spend = await Clocks().view(CountedLedger(line("a", 1, 2), line("b", 5), line("a", 4), *users)).spend()

    assert spend is not None
    assert (spend.used, spend.reserved, spend.committed) == (2510, 2, 2512)
    assert [(row["user"], row["used"], row["reserved"]) for row in spend.users[:2]] == [("a", 5, 2), ("b", 5, 0)]
    assert (len(spend.users), spend.number_of_users) == (MAX_USERS, 2502)


async def test_a_report_is_used_again() -> None:
    """A report is read once in a while, on each day, and again after the ledger was away."""
    clocks, ledger = Clocks(), CountedLedger(line("a", 1))
    view = clocks.view(ledger)
    for _ in range(3):
        await view.spend()
    read_once = ledger.reports
    clocks.wall += 86_400
    await view.spend()
    other_day = ledger.reports
    clocks.steady += 60
    ledger.away = True
    away, known = await view.spend(), view.committed(clocks.wall)
    ledger.away = False

    assert (read_once, other_day, away, known) == (1, 2, None, None)
    assert await view.spend() is not None
    assert view.committed(clocks.wall) == 1
    assert view.committed(clocks.wall + 86_400) is None


async def test_open_calls_of_the_ledger() -> None:
    """The newest calls are read with their number, and none while the ledger does not answer."""
    ledger = SqliteLedger()
    await ledger.reserve("one", call_request(1, charge()), now=NOW)
    view = Clocks().view(ledger)
    found = await view.open_calls()
    await ledger.aclose()

    assert found is not None
    assert (found[0], [record.id for record in found[1]]) == (1, ["one"])
    assert await view.open_calls() is None

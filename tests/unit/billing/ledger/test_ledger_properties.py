"""Any interleaving of what happens to money, against a model a page long.

`ledger_machine` takes any ledger.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, RuleBasedStateMachine, invariant, multiple, rule
from support.reopened_ledger import ReopenedLedger

from proxy.auth.caller import Caller
from proxy.billing.budgets import Budget, CalendarWindow, InFlightLimit, RollingWindow, charges, slots
from proxy.billing.ledger.interface import (
    AllowanceStatus,
    Charge,
    DailyUsage,
    Granted,
    InFlightSlot,
    Ledger,
    LimitExceeded,
    ReservationRequest,
)
from proxy.billing.ledger.sqlite_ledger import SqliteLedger

START = datetime(2026, 10, 24, 20, tzinfo=UTC).timestamp()  # Berlin's longest day of the year is about to begin
ALICE = Caller("issuer", "alice", "key-of-alice", frozenset(), 0.0, {})
ENDPOINT = "fal-ai/hyper-sdxl/image-to-image"
BUDGETS = [
    Budget("daily", "user", CalendarWindow("day", ZoneInfo("Europe/Berlin")), 40),
    Budget("rolling", "user", RollingWindow(24), 30),
    Budget("monthly", "global", CalendarWindow("month", ZoneInfo("UTC")), 90),
    Budget("looked-at", "user", RollingWindow(1), 5, mode="observe"),
]
SEATS = [InFlightLimit("jobs", "user", 3, 600.0), InFlightLimit("few", "global", 2, 60.0, mode="observe")]
TTL = 900.0

Open = Callable[[], AbstractAsyncContextManager[Ledger]]


def allowances(
    charges: tuple[Charge, ...], in_flight_slots: tuple[InFlightSlot, ...]
) -> tuple[Charge | InFlightSlot, ...]:
    return (*charges, *in_flight_slots)


@dataclass
class ModelReservation:
    entry: ReservationRequest
    line: date
    until: float
    job: str | None = None


@dataclass
class Model:
    """Model of a ledger, sequential and of one process."""

    reservations: dict[str, ModelReservation] = field(default_factory=dict)
    used: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))
    reserved: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))
    leases: dict[tuple[str, str], float] = field(default_factory=dict)
    lines: dict[date, DailyUsage] = field(default_factory=dict)

    def drawn(self, charge: Charge) -> tuple[int, int]:
        return self._sum(self.used, charge), self._sum(self.reserved, charge)

    def _sum(self, amounts: dict[tuple[str, int], int], charge: Charge) -> int:
        return sum(
            amount
            for (account, bucket), amount in amounts.items()
            if account == charge.account and bucket >= charge.oldest
        )

    def live(self, seat: InFlightSlot, now: float) -> int:
        return sum(until > now for (account, _), until in self.leases.items() if account == seat.account)

    def reserve(self, call_id: str, entry: ReservationRequest, now: float) -> Granted | LimitExceeded:
        observed = []
        for allowance in allowances(entry.charges, entry.slots):
            short = self._short(allowance, entry, now)
            if short is not None and allowance.enforce:
                return short
            observed += [] if short is None else [short]
        day = datetime.fromtimestamp(now, UTC).date()
        self.reservations[call_id] = ModelReservation(entry, day, now + entry.ttl)
        for charge in entry.charges:
            self.reserved[charge.account, charge.current] += entry.amount
        for seat in entry.slots:
            self.leases[seat.account, call_id] = now + seat.lease
        self._book(day, submits=1, reserved=entry.amount)
        return Granted(tuple(observed))

    def _short(self, allowance: Charge | InFlightSlot, entry: ReservationRequest, now: float) -> LimitExceeded | None:
        if isinstance(allowance, InFlightSlot):
            full = self.live(allowance, now) >= allowance.limit
            return LimitExceeded("in-flight", allowance.name, allowance.limit, 0, None) if full else None
        left = allowance.limit - sum(self.drawn(allowance))
        if entry.amount <= left:
            return None
        renews_at = allowance.renews_at if entry.amount <= allowance.limit else None
        return LimitExceeded("budget", allowance.budget, allowance.limit, max(left, 0), renews_at)

    def end(self, call_id: str, units: int, *, unsettled: bool = False) -> None:
        gone = self.reservations.pop(call_id)
        amount, spent = gone.entry.amount, min(units, gone.entry.amount)
        for charge in gone.entry.charges:
            self.reserved[charge.account, charge.current] -= amount
            self.used[charge.account, charge.current] += spent
        self._book(
            gone.line,
            reserved=-amount,
            used=spent,
            refunded=amount - spent,
            unsettled=spent if unsettled else 0,
            overrun=units - spent,
        )

    def free_slots(self, call_id: str) -> None:
        self.leases = {(account, of): until for (account, of), until in self.leases.items() if of != call_id}

    def of_job(self, job: str) -> str | None:
        return next((name for name, reservation in self.reservations.items() if reservation.job == job), None)

    def _book(self, day: date, **sums: int) -> None:
        line = self.lines.get(day, DailyUsage(day, ALICE.key, ENDPOINT, 0, 0, 0, 0, 0, 0))
        self.lines[day] = replace(line, **{name: getattr(line, name) + more for name, more in sums.items()})


class LedgerMachine(RuleBasedStateMachine):
    open: Open
    remembers_sweeps = True
    call_ids: Bundle[str] = Bundle("call_ids")
    jobs: Bundle[str] = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.swept_at: float | None = None
        self.names = 0
        self.model = Model()
        self.runner = asyncio.Runner()
        self.opened = type(self).open()
        self.ledger = self.runner.run(self.opened.__aenter__())

    def teardown(self) -> None:
        self.runner.run(self.opened.__aexit__(None, None, None))
        self.runner.close()

    def name(self, kind: str) -> str:
        self.names += 1
        return f"{kind}{self.names}"

    @rule(seconds=st.one_of(st.floats(0, 100), st.floats(0, 100_000), st.sampled_from([60.0, 600.0, 900.0, 3600.0])))
    def time_goes_by(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        target=call_ids,
        amount=st.integers(0, 45),
        budgets=st.lists(st.sampled_from(BUDGETS), unique_by=lambda budget: budget.name),
        rules=st.lists(st.sampled_from(SEATS), unique_by=lambda rule: rule.name),
    )
    def reserve(self, amount: int, budgets: list[Budget], rules: list[InFlightLimit]) -> str | MultipleResults[str]:
        call_id = self.name("ticket")
        drawn, drawn_slots = charges(budgets, ALICE, ENDPOINT, self.now), slots(rules, ALICE, ENDPOINT)
        entry = ReservationRequest(ALICE.key, ENDPOINT, amount, drawn, drawn_slots, TTL)
        result = self.runner.run(self.ledger.reserve(call_id, entry, now=self.now))
        self.swept_at = self.now if self.swept_at is None else self.swept_at

        assert result == self.model.reserve(call_id, entry, self.now)
        return call_id if isinstance(result, Granted) else multiple()

    @rule(target=jobs, call_id=call_ids)
    def accept(self, call_id: str) -> str:
        job = self.name("job")
        self.runner.run(self.ledger.accept(call_id, job, now=self.now))
        if call_id in self.model.reservations and self.model.reservations[call_id].job is None:
            self.model.reservations[call_id].job = job
        return job

    @rule(call_id=call_ids)
    def refund(self, call_id: str) -> None:
        self.runner.run(self.ledger.refund(call_id, now=self.now))
        if call_id in self.model.reservations:
            self.model.free_slots(call_id)
            self.model.end(call_id, 0)

    @rule(job=jobs, amount=st.one_of(st.none(), st.integers(0, 60)))
    def settle(self, job: str, amount: int | None) -> None:
        settled = self.runner.run(self.ledger.settle(job, amount=amount, now=self.now))
        call_id = self.model.of_job(job)
        assert settled == (call_id is not None)
        if call_id is not None:
            self.model.free_slots(call_id)
            self.model.end(call_id, self.model.reservations[call_id].entry.amount if amount is None else amount)

    @rule(job=jobs)
    def release(self, job: str) -> None:
        self.runner.run(self.ledger.release(job, now=self.now))
        call_id = self.model.of_job(job)
        if call_id is not None:
            self.model.free_slots(call_id)

    @rule()
    def sweep(self) -> None:
        # A sweep is at most an hour after the one before, or after the first reservation.
        latest = self.now if self.swept_at is None else min(self.now, self.swept_at + 3600)
        self.swept_at = latest if type(self).remembers_sweeps else self.now
        due = [name for name, reservation in self.model.reservations.items() if reservation.until <= self.swept_at]
        assert self.runner.run(self.ledger.sweep(now=self.now)) == len(due)
        for call_id in due:
            self.model.end(call_id, self.model.reservations[call_id].entry.amount, unsettled=True)

    @invariant()
    def agrees_and_keeps_to_its_limits(self) -> None:
        drawn, drawn_slots = charges(BUDGETS, ALICE, ENDPOINT, self.now), slots(SEATS, ALICE, ENDPOINT)
        statuses = self.runner.run(self.ledger.statuses(drawn, drawn_slots, now=self.now))

        assert statuses == (
            *(AllowanceStatus(c.budget, c.limit, *self.model.drawn(c), c.renews_at) for c in drawn),
            *(
                AllowanceStatus(s.name, s.limit, self.model.live(s, self.now), 0, None, kind="in-flight")
                for s in drawn_slots
            ),
        )
        for status, allowance in zip(statuses, allowances(drawn, drawn_slots), strict=True):
            assert status.used >= 0
            assert status.reserved >= 0
            assert not allowance.enforce or status.used + status.reserved <= status.limit

    @invariant()
    def reports_what_happened(self) -> None:
        lines = self.runner.run(self.ledger.report(since=date(2026, 10, 1), until=date(2027, 10, 1)))

        assert lines == tuple(sorted(self.model.lines.values(), key=lambda line: line.day))


def ledger_machine(body: Open, *, remembers_sweeps: bool = True) -> type[LedgerMachine]:
    """Returns the state machine of a store. *body* opens an empty ledger for each example.

    A process that starts again has lost the time of its last sweep.
    """

    class Machine(LedgerMachine):
        open = staticmethod(body)

    Machine.remembers_sweeps = remembers_sweeps
    return Machine


@asynccontextmanager
async def memory() -> AsyncIterator[Ledger]:
    ledger = SqliteLedger(":memory:", timeout=5.0)
    yield ledger
    await ledger.aclose()


@asynccontextmanager
async def reopened() -> AsyncIterator[Ledger]:
    with TemporaryDirectory() as folder:
        yield ReopenedLedger(Path(folder) / "ledger.db", now=START)  # type: ignore[misc]


TestReopenedLedger = ledger_machine(reopened, remembers_sweeps=False).TestCase
TestReopenedLedger.settings = settings(
    max_examples=10, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

TestSqliteLedger = ledger_machine(memory).TestCase
TestSqliteLedger.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

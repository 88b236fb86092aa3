"""Any interleaving of steps, compared with a model a page long.

`build_machine` takes any ledger.
"""

from __future__ import annotations

import asyncio
import os
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
SLOTS = [InFlightLimit("jobs", "user", 3, 600.0), InFlightLimit("few", "global", 2, 60.0, mode="observe")]
TTL = 900.0
EXAMPLES = int(os.environ.get("EXAMPLES", "50"))  # more by hand

Open = Callable[[], AbstractAsyncContextManager[Ledger]]


def allowances(charges: tuple[Charge, ...], slots: tuple[InFlightSlot, ...]) -> tuple[Charge | InFlightSlot, ...]:
    return (*charges, *slots)


@dataclass
class OpenCall:
    request: ReservationRequest
    line: date
    until: float
    job: str | None = None


@dataclass
class Model:
    """Reference model of a ledger: dicts and sums, one step at a time."""

    calls: dict[str, OpenCall] = field(default_factory=dict)
    used: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))
    reserved: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))
    leases: dict[tuple[str, str], float] = field(default_factory=dict)
    lines: dict[date, DailyUsage] = field(default_factory=dict)

    def totals(self, charge: Charge) -> tuple[int, int]:
        return self._sum(self.used, charge), self._sum(self.reserved, charge)

    def _sum(self, amounts: dict[tuple[str, int], int], charge: Charge) -> int:
        return sum(
            amount
            for (account, bucket), amount in amounts.items()
            if account == charge.account and bucket >= charge.oldest
        )

    def live(self, slot: InFlightSlot, now: float) -> int:
        return sum(until > now for (account, _), until in self.leases.items() if account == slot.account)

    def reserve(self, call_id: str, request: ReservationRequest, now: float) -> Granted | LimitExceeded:
        observed = []
        for allowance in allowances(request.charges, request.slots):
            short = self._short(allowance, request, now)
            if short is not None and allowance.enforce:
                return short
            observed += [] if short is None else [short]
        day = datetime.fromtimestamp(now, UTC).date()
        self.calls[call_id] = OpenCall(request, day, now + request.ttl)
        for charge in request.charges:
            self.reserved[charge.account, charge.current] += request.amount
        for slot in request.slots:
            self.leases[slot.account, call_id] = now + slot.lease
        self._book(day, submits=1, reserved=request.amount)
        return Granted(tuple(observed))

    def _short(self, allowance: Charge | InFlightSlot, request: ReservationRequest, now: float) -> LimitExceeded | None:
        if isinstance(allowance, InFlightSlot):
            full = self.live(allowance, now) >= allowance.limit
            return LimitExceeded("in-flight", allowance.name, allowance.limit, 0, None) if full else None
        left = allowance.limit - sum(self.totals(allowance))
        if request.amount <= left:
            return None
        renews_at = allowance.renews_at if request.amount <= allowance.limit else None
        return LimitExceeded("budget", allowance.budget, allowance.limit, max(left, 0), renews_at)

    def end(self, call_id: str, due: int, *, unsettled: bool = False) -> None:
        call = self.calls.pop(call_id)
        amount, spent = call.request.amount, min(due, call.request.amount)
        for charge in call.request.charges:
            self.reserved[charge.account, charge.current] -= amount
            self.used[charge.account, charge.current] += spent
        self._book(
            call.line,
            reserved=-amount,
            used=spent,
            refunded=amount - spent,
            unsettled=spent if unsettled else 0,
            overrun=due - spent,
        )

    def free_slots(self, call_id: str) -> None:
        self.leases = {(account, of): until for (account, of), until in self.leases.items() if of != call_id}

    def by_job(self, job: str) -> str | None:
        return next((name for name, call in self.calls.items() if call.job == job), None)

    def _book(self, day: date, **sums: int) -> None:
        line = self.lines.get(day, DailyUsage(day, ALICE.key, ENDPOINT, 0, 0, 0, 0, 0, 0))
        self.lines[day] = replace(line, **{name: getattr(line, name) + more for name, more in sums.items()})


class LedgerMachine(RuleBasedStateMachine):
    open: Open
    remembers_sweeps = True
    calls: Bundle[str] = Bundle("calls")
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
        target=calls,
        amount=st.integers(0, 45),
        budgets=st.lists(st.sampled_from(BUDGETS), unique_by=lambda budget: budget.name),
        rules=st.lists(st.sampled_from(SLOTS), unique_by=lambda rule: rule.name),
    )
    def reserve(self, amount: int, budgets: list[Budget], rules: list[InFlightLimit]) -> str | MultipleResults[str]:
        call_id = self.name("call_id")
        charged, live_slots = charges(budgets, ALICE, ENDPOINT, self.now), slots(rules, ALICE, ENDPOINT)
        request = ReservationRequest(ALICE.key, ENDPOINT, amount, charged, live_slots, TTL)
        result = self.runner.run(self.ledger.reserve(call_id, request, now=self.now))
        self.swept_at = self.now if self.swept_at is None else self.swept_at

        assert result == self.model.reserve(call_id, request, self.now)
        return call_id if isinstance(result, Granted) else multiple()

    @rule(target=jobs, call_id=calls)
    def accept(self, call_id: str) -> str:
        job = self.name("job")
        self.runner.run(self.ledger.accept(call_id, job, now=self.now))
        if call_id in self.model.calls and self.model.calls[call_id].job is None:
            self.model.calls[call_id].job = job
        return job

    @rule(call_id=calls)
    def refund(self, call_id: str) -> None:
        self.runner.run(self.ledger.refund(call_id, now=self.now))
        if call_id in self.model.calls:
            self.model.free_slots(call_id)
            self.model.end(call_id, 0)

    @rule(job=jobs, amount=st.one_of(st.none(), st.integers(0, 60)))
    def settle(self, job: str, amount: int | None) -> None:
        settled = self.runner.run(self.ledger.settle(job, amount=amount, now=self.now))
        call_id = self.model.by_job(job)
        assert settled == (call_id is not None)
        if call_id is not None:
            self.model.free_slots(call_id)
            self.model.end(call_id, self.model.calls[call_id].request.amount if amount is None else amount)

    @rule(job=jobs)
    def release(self, job: str) -> None:
        self.runner.run(self.ledger.release(job, now=self.now))
        call_id = self.model.by_job(job)
        if call_id is not None:
            self.model.free_slots(call_id)

    @rule()
    def sweep(self) -> None:
        # A sweep is at most an hour after the one before, or after the first reservation.
        latest = self.now if self.swept_at is None else min(self.now, self.swept_at + 3600)
        self.swept_at = latest if type(self).remembers_sweeps else self.now
        due = [name for name, call in self.model.calls.items() if call.until <= self.swept_at]
        assert self.runner.run(self.ledger.sweep(now=self.now)) == len(due)
        for call_id in due:
            self.model.end(call_id, self.model.calls[call_id].request.amount, unsettled=True)

    @invariant()
    def agrees_and_keeps_to_its_limits(self) -> None:
        charged, live_slots = charges(BUDGETS, ALICE, ENDPOINT, self.now), slots(SLOTS, ALICE, ENDPOINT)
        statuses = self.runner.run(self.ledger.statuses(charged, live_slots, now=self.now))

        assert statuses == (
            *(AllowanceStatus(c.budget, c.limit, *self.model.totals(c), c.renews_at) for c in charged),
            *(
                AllowanceStatus(s.name, s.limit, self.model.live(s, self.now), 0, None, kind="in-flight")
                for s in live_slots
            ),
        )
        for status, allowance in zip(statuses, allowances(charged, live_slots), strict=True):
            assert status.used >= 0
            assert status.reserved >= 0
            assert not allowance.enforce or status.used + status.reserved <= status.limit

    @invariant()
    def reports_what_happened(self) -> None:
        lines = self.runner.run(self.ledger.report(since=date(2026, 10, 1), until=date(2027, 10, 1)))

        assert lines == tuple(sorted(self.model.lines.values(), key=lambda line: line.day))


def build_machine(body: Open, *, remembers_sweeps: bool = True) -> type[LedgerMachine]:
    """Builds a machine on the ledgers that *body* opens, an empty one for each example.

    A restarted process has no time of its last sweep.
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


TestReopenedLedger = build_machine(reopened, remembers_sweeps=False).TestCase
TestReopenedLedger.settings = settings(
    max_examples=EXAMPLES // 6, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

TestSqliteLedger = build_machine(memory).TestCase
TestSqliteLedger.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

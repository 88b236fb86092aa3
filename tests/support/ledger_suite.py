"""Conformance suite for every implementation of the ledger.

The tests of an implementation subclass `LedgerSuite` with a fixture `ledger`, an empty one. Tests of one that several
processes may share also subclass `SharedLedgerSuite`, with a fixture `ledgers`: two over one store. Timeouts are long:
a busy machine changes no result.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from proxy.auth.caller import Caller
from proxy.billing.budgets import Budget, CalendarWindow, InFlightLimit, RollingWindow, Tiers, charges, slots
from proxy.billing.ledger.interface import (
    AllowanceStatus,
    Charge,
    DailyUsage,
    Granted,
    InFlightSlot,
    KeyState,
    Ledger,
    LimitExceeded,
    ReservationRequest,
    StoredAnswer,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
TODAY = date(2026, 11, 23)
HOUR, DAY = 3600.0, 86_400.0
ENDPOINT = "fal-ai/hyper-sdxl/image-to-image"


def charge(limit: int = 100, *, name: str = "daily", enforce: bool = True) -> Charge:
    return Charge(name, f"{name}:alice", 20261123, 20261123, limit, NOW + DAY / 2, DAY / 2, enforce)


def slot(limit: int = 2, *, name: str = "jobs", lease: float = 600.0, enforce: bool = True) -> InFlightSlot:
    return InFlightSlot(name, f"{name}:alice", limit, lease, enforce)


def call_request(amount: int, *allowances: Charge | InFlightSlot, ttl: float = DAY) -> ReservationRequest:
    return ReservationRequest(
        caller="alice",
        endpoint=ENDPOINT,
        amount=amount,
        charges=tuple(one for one in allowances if isinstance(one, Charge)),
        slots=tuple(one for one in allowances if isinstance(one, InFlightSlot)),
        ttl=ttl,
    )


def caller(subject: str, **claims: object) -> Caller:
    return Caller("issuer", subject, f"key-of-{subject}", frozenset(), 0.0, claims)


def lacking(short: Charge, left: int) -> LimitExceeded:
    return LimitExceeded("budget", short.budget, short.limit, left, short.renews_at)


async def sums(ledger: Ledger, *drawn: Charge, now: float = NOW) -> list[tuple[int, int]]:
    """Returns what is used and reserved of each."""
    return [(status.used, status.reserved) for status in await ledger.statuses(drawn, (), now=now)]


async def in_flight(ledger: Ledger, *occupied: InFlightSlot, now: float = NOW) -> list[int]:
    return [status.used for status in await ledger.statuses((), occupied, now=now)]


async def accepted(ledger: Ledger, job: str, request: ReservationRequest, *, now: float = NOW) -> None:
    """Reserves and accepts a job of fal, under an id of its own."""
    assert await ledger.reserve(f"call-of-{job}", request, now=now) == Granted()
    await ledger.accept(f"call-of-{job}", job, now=now)


async def claimed(ledger: Ledger, key: str = "key", body: str = "body", *, owner: str, now: float = NOW) -> object:
    return await ledger.claim_key(key, body, owner=owner, now=now, ttl=DAY, hold=60.0)


class ReserveSuite:
    async def test_room_is_taken(self, ledger: Ledger) -> None:
        """A reservation is visible, and further ones fit until the limit and not beyond."""
        drawn = charge(100)
        for n in range(10):
            assert await ledger.reserve(f"t{n}", call_request(10, drawn), now=NOW) == Granted()

        assert await ledger.reserve("t", call_request(1, drawn), now=NOW) == lacking(drawn, 0)
        assert await ledger.reserve("free", call_request(0, drawn), now=NOW) == Granted()
        assert await ledger.statuses((drawn,), (), now=NOW) == (AllowanceStatus("daily", 100, 0, 100, drawn.renews_at),)

    @pytest.mark.parametrize("last", range(4), ids=["first", "second", "slot", "last"])
    async def test_a_refusal_writes_nothing(self, ledger: Ledger, last: int) -> None:
        """Whichever of its allowances has no room: no other is drawn on, no slot is taken, no submit reported."""
        allowances: list[Charge | InFlightSlot] = [charge(), charge(name="all"), slot(), slot(name="ours")]
        asked = list(allowances)
        asked[last] = replace(asked[last], limit=0)
        refused = await ledger.reserve("t", call_request(1, *asked), now=NOW)

        assert isinstance(refused, LimitExceeded)
        assert await sums(ledger, charge(), charge(name="all")) == [(0, 0), (0, 0)]
        assert await in_flight(ledger, slot(), slot(name="ours")) == [0, 0]
        assert await ledger.report(since=TODAY, until=TODAY) == ()

    async def test_the_first_shortfall_is_told(self, ledger: Ledger) -> None:
        """Budgets in order, then slots; with what is left, and when it renews."""
        wide, tight, full = charge(100, name="wide"), charge(7, name="tight"), slot(1)
        await ledger.reserve("t", call_request(5, wide, tight, full), now=NOW)

        assert await ledger.reserve("a", call_request(96, tight, wide, full), now=NOW) == replace(
            lacking(tight, 2), renews_at=None
        )
        assert await ledger.reserve("b", call_request(3, wide, tight, full), now=NOW) == lacking(tight, 2)
        assert await ledger.reserve("c", call_request(2, wide, tight, full), now=NOW) == LimitExceeded(
            "in-flight", "jobs", 1, 0, None
        )

    async def test_what_never_fits_does_not_renew(self, ledger: Ledger) -> None:
        """A price over the limit itself: waiting does not help."""
        assert await ledger.reserve("t", call_request(101, charge(100)), now=NOW) == LimitExceeded(
            "budget", "daily", 100, 100, None
        )

    async def test_a_lowered_limit_leaves_nothing(self, ledger: Ledger) -> None:
        """More is spent than now allowed: what is left is 0, not less."""
        await ledger.reserve("t", call_request(50, charge(100)), now=NOW)

        assert await ledger.reserve("u", call_request(1, charge(20)), now=NOW) == lacking(charge(20), 0)
        assert await ledger.statuses((charge(20),), (), now=NOW) == (
            AllowanceStatus("daily", 20, 0, 50, charge().renews_at),
        )

    async def test_observe_mode_only_tells(self, ledger: Ledger) -> None:
        """An observed limit lets a request through, counts and reports it.

        An enforced limit beside it still refuses.
        """
        looked, counted, real = charge(10, name="look", enforce=False), slot(1, enforce=False), charge(30)
        reported = []
        for n in range(3):
            result = await ledger.reserve(f"t{n}", call_request(8, looked, real, counted), now=NOW)
            assert isinstance(result, Granted)
            reported.append([(short.name, short.left) for short in result.observed])

        assert reported == [[], [("look", 2), ("jobs", 0)], [("look", 0), ("jobs", 0)]]
        assert await sums(ledger, looked) == [(0, 24)]
        assert await in_flight(ledger, counted) == [3]
        assert await ledger.reserve("t", call_request(8, looked, real, counted), now=NOW) == lacking(real, 6)
        assert await sums(ledger, looked) == [(0, 24)]

    async def test_a_ticket_counts_once(self, ledger: Ledger) -> None:
        """Reserved again it gets the same answer, is not charged again, and takes no second slot."""
        request = call_request(10, charge(15), charge(5, name="look", enforce=False), slot(1))
        answers = await asyncio.gather(*(ledger.reserve("t", request, now=NOW) for _ in range(20)))

        assert set(answers) == {Granted((replace(lacking(charge(5, name="look"), 5), renews_at=None),))}
        assert await sums(ledger, charge(15)) == [(0, 10)]
        assert [line.submits for line in await ledger.report(since=TODAY, until=TODAY)] == [1]

    async def test_a_negative_price_is_a_defect(self, ledger: Ledger) -> None:
        """A negative amount is an error."""
        with pytest.raises(ValueError, match=r"\S"):
            await ledger.reserve("t", call_request(-1, charge()), now=NOW)

        assert await sums(ledger, charge()) == [(0, 0)]

    async def test_large_amounts_stay_exact(self, ledger: Ledger) -> None:
        """The dearest price there is, in millionths, to the last one."""
        drawn = charge(10**15)
        await accepted(ledger, "job", call_request(10**15 - 1, drawn))
        await ledger.settle("job", amount=10**15 - 2, now=NOW)

        assert await ledger.reserve("t", call_request(3, drawn), now=NOW) == lacking(drawn, 2)
        assert await ledger.reserve("t", call_request(2, drawn), now=NOW) == Granted()

    async def test_a_barrier_of_callers(self, ledger: Ledger) -> None:
        """Of two hundred reservations at once on room for 37 exactly 37 succeed, twenty times in a row."""
        for n in range(20):
            drawn = charge(37 * 7 + 6, name=f"round{n}")
            barrier = asyncio.Barrier(200)

            async def ask(name: int, barrier: asyncio.Barrier = barrier, drawn: Charge = drawn) -> object:
                async with barrier:
                    return await ledger.reserve(f"{drawn.budget}-{name}", call_request(7, drawn, slot(10**6)), now=NOW)

            answers = await asyncio.gather(*map(ask, range(200)))

            assert answers.count(Granted()) == 37
            assert answers.count(lacking(drawn, 6)) == 163
            assert await sums(ledger, drawn) == [(0, 37 * 7)]
        assert await in_flight(ledger, slot(10**6)) == [20 * 37]

    async def test_callers_who_leave(self, ledger: Ledger) -> None:
        """A reservation that is cancelled at any moment is made whole or not at all."""
        chance = random.Random(7)
        both = charge(10**6), charge(10**6, name="all")
        tasks = []
        for n in range(300):
            tasks.append(asyncio.create_task(ledger.reserve(f"t{n}", call_request(1, *both, slot(10**6)), now=NOW)))
            if chance.random() < 0.6:
                asyncio.get_running_loop().call_later(chance.random() * 0.002, tasks[-1].cancel)
            await asyncio.sleep(0)
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        granted = answers.count(Granted())
        (one, other), live = await sums(ledger, *both), await in_flight(ledger, slot(10**6))

        assert granted + sum(isinstance(answer, asyncio.CancelledError) for answer in answers) == 300
        assert one == other == (0, live[0])
        assert granted <= live[0] <= 300


class EndingSuite:
    @pytest.mark.parametrize(
        ("amount", "used", "refunded", "overrun"),
        [(None, 10, 0, 0), (10, 10, 0, 0), (4, 4, 6, 0), (0, 0, 10, 0), (15, 10, 0, 5), (-3, 0, 10, 0)],
        ids=["as-reserved", "the-same", "less", "nothing", "more", "negative"],
    )
    async def test_settled(self, ledger: Ledger, amount: int | None, used: int, refunded: int, overrun: int) -> None:
        """At most what was reserved is spent, the rest is free again; more is noted. True the first time only."""
        await accepted(ledger, "job", call_request(10, charge(), charge(name="all"), slot()))

        assert await ledger.settle("job", amount=amount, now=NOW) is True
        assert await ledger.settle("job", amount=10, now=NOW) is False
        assert await sums(ledger, charge(), charge(name="all")) == [(used, 0)] * 2
        assert await in_flight(ledger, slot()) == [0]
        assert await ledger.report(since=TODAY, until=TODAY) == (
            DailyUsage(TODAY, "alice", ENDPOINT, 1, used, 0, refunded, 0, overrun),
        )

    async def test_an_absurd_amount(self, ledger: Ledger) -> None:
        """A job never spends more than was reserved, with any number of units."""
        await accepted(ledger, "job", call_request(10, charge()))

        assert await ledger.settle("job", amount=10**30, now=NOW) is True
        assert await sums(ledger, charge()) == [(10, 0)]

    async def test_refunded(self, ledger: Ledger) -> None:
        """As if it had never been, but for the report. Once."""
        for name in ("t", "u"):
            await ledger.reserve(name, call_request(10, charge(), slot()), now=NOW)
        for _ in range(2):
            await ledger.refund("t", now=NOW)

        assert await sums(ledger, charge()) == [(0, 10)]
        assert await in_flight(ledger, slot()) == [1]
        assert await ledger.report(since=TODAY, until=TODAY) == (
            DailyUsage(TODAY, "alice", ENDPOINT, 2, 0, 10, 10, 0, 0),
        )

    async def test_what_has_ended_stays_ended(self, ledger: Ledger) -> None:
        """No later word on a settled, refunded or unknown job changes anything, in whatever order it comes."""
        await accepted(ledger, "settled", call_request(10, charge()))
        await ledger.settle("settled", amount=None, now=NOW)
        await ledger.reserve("refunded", call_request(10, charge()), now=NOW)
        await ledger.refund("refunded", now=NOW)
        for call_id in ("call-of-settled", "refunded", "unknown"):
            await ledger.accept(call_id, f"late-{call_id}", now=NOW)
            await ledger.refund(call_id, now=NOW)
            assert await ledger.settle(f"late-{call_id}", amount=0, now=NOW) is False
        for job in ("settled", "unknown"):
            await ledger.release(job, now=NOW)
            assert await ledger.settle(job, amount=0, now=NOW) is False

        assert await sums(ledger, charge()) == [(10, 0)]

    async def test_accepting_twice(self, ledger: Ledger) -> None:
        """The amount stays reserved, and the job ends once."""
        await ledger.reserve("t", call_request(10, charge()), now=NOW)
        for _ in range(2):
            await ledger.accept("t", "job", now=NOW)

        assert await sums(ledger, charge()) == [(0, 10)]
        assert [await ledger.settle("job", amount=None, now=NOW) for _ in range(2)] == [True, False]
        assert await sums(ledger, charge()) == [(10, 0)]

    async def test_settled_by_many_at_once(self, ledger: Ledger) -> None:
        """Polls, a webhook and a cancel see the same end: one of them settles."""
        await accepted(ledger, "job", call_request(10, charge()))
        answers = await asyncio.gather(*(ledger.settle("job", amount=n % 11, now=NOW) for n in range(50)))
        ((used, reserved),) = await sums(ledger, charge())
        (line,) = await ledger.report(since=TODAY, until=TODAY)

        assert answers.count(True) == 1
        assert reserved == 0
        assert (line.used, line.refunded) == (used, 10 - used)

    async def test_a_job_may_take_seats_only(self, ledger: Ledger) -> None:
        """Without a budget nothing is charged, and the slot goes with the job."""
        await accepted(ledger, "job", call_request(0, slot(1)))

        assert isinstance(await ledger.reserve("t", call_request(0, slot(1)), now=NOW), LimitExceeded)
        assert await ledger.settle("job", amount=5, now=NOW) is True
        assert await ledger.reserve("t", call_request(0, slot(1)), now=NOW) == Granted()


class SlotSuite:
    async def test_released(self, ledger: Ledger) -> None:
        """Seats and nothing else: the amount stays reserved until the job is settled."""
        await accepted(ledger, "job", call_request(10, charge(), slot(1), slot(1, name="ours")))
        for _ in range(2):
            await ledger.release("job", now=NOW)

        assert await in_flight(ledger, slot(), slot(name="ours")) == [0, 0]
        assert await sums(ledger, charge()) == [(0, 10)]
        assert await ledger.settle("job", amount=None, now=NOW) is True

    async def test_a_lease_is_its_own(self, ledger: Ledger) -> None:
        """A lease ends to the second, with any other jobs of the caller, and without a sweep."""
        await accepted(ledger, "first", call_request(1, slot(2, lease=100.0)))
        await accepted(ledger, "second", call_request(1, slot(2, lease=100.0)), now=NOW + 50)
        await ledger.accept("call-of-first", "first", now=NOW + 99)

        assert await in_flight(ledger, slot(), now=NOW + 99.9) == [2]
        assert await in_flight(ledger, slot(), now=NOW + 100) == [1]
        assert await ledger.reserve("third", call_request(1, slot(2)), now=NOW + 100) == Granted()
        assert await in_flight(ledger, slot(), now=NOW + 150) == [1]

    async def test_a_seat_that_ended_does_not_end_the_job(self, ledger: Ledger) -> None:
        """A job whose slot ended may still run, and is settled in the end."""
        await accepted(ledger, "job", call_request(10, charge(), slot(lease=100.0)))
        await ledger.sweep(now=NOW + 200)

        assert await sums(ledger, charge(), now=NOW + 200) == [(0, 10)]
        assert await ledger.settle("job", amount=3, now=NOW + 200) is True


class SweepSuite:
    async def test_nobody_told_the_outcome(self, ledger: Ledger) -> None:
        """Past its time a reservation is spent and reported as unsettled, accepted or not.

        What came later stays.
        """
        await ledger.reserve("unknown", call_request(10, charge(), ttl=100.0), now=NOW)
        await accepted(ledger, "job", call_request(20, charge(), ttl=100.0))
        await ledger.reserve("later", call_request(30, charge(), ttl=101.0), now=NOW)

        assert await ledger.sweep(now=NOW + 99.9) == 0
        assert await ledger.sweep(now=NOW + 100) == 2
        assert await ledger.sweep(now=NOW + 100) == 0
        assert await sums(ledger, charge()) == [(30, 30)]
        assert await ledger.report(since=TODAY, until=TODAY) == (
            DailyUsage(TODAY, "alice", ENDPOINT, 3, 30, 30, 0, 30, 0),
        )

    async def test_a_late_word_changes_nothing(self, ledger: Ledger) -> None:
        """A swept reservation is spent, with any later settlement."""
        await accepted(ledger, "job", call_request(20, charge(), ttl=100.0))
        await ledger.sweep(now=NOW + 100)
        await ledger.refund("call-of-job", now=NOW + 101)

        assert await ledger.settle("job", amount=0, now=NOW + 101) is False
        assert await sums(ledger, charge()) == [(20, 0)]

    async def test_swept_jobs_keep_their_seats(self, ledger: Ledger) -> None:
        """A swept job may still run: its slot ends with its lease."""
        await ledger.reserve("t", call_request(20, charge(), slot(lease=200.0), ttl=100.0), now=NOW)
        await ledger.sweep(now=NOW + 150)

        assert await in_flight(ledger, slot(), now=NOW + 199) == [1]
        assert await in_flight(ledger, slot(), now=NOW + 200) == [0]

    async def test_so_many_at_a_time(self, ledger: Ledger) -> None:
        """A sweep ends at most its limit, and each reservation once, also with several sweeps at once."""
        for n in range(25):
            await ledger.reserve(f"t{n}", call_request(1, charge(), ttl=100.0), now=NOW)

        assert await ledger.sweep(now=NOW + 100, limit=10) == 10
        assert await sums(ledger, charge()) == [(10, 15)]
        assert sum(await asyncio.gather(*(ledger.sweep(now=NOW + 100) for _ in range(4)))) == 15
        assert await sums(ledger, charge()) == [(25, 0)]

    async def test_an_end_after_the_window(self, ledger: Ledger) -> None:
        """Long after its bucket is gone a job is settled, and touches no other window."""
        await accepted(ledger, "job", call_request(10, charge(), ttl=30 * DAY))
        later = NOW + 20 * DAY
        tomorrow = replace(charge(), current=20261213, oldest=20261213, renews_at=later + DAY)
        await ledger.reserve("t", call_request(7, tomorrow), now=later)
        await ledger.sweep(now=later)

        assert await ledger.settle("job", amount=None, now=later) is True
        assert await sums(ledger, tomorrow, now=later) == [(0, 7)]


class WindowSuite:
    async def test_a_calendar_day(self, ledger: Ledger) -> None:
        """Full until midnight in its zone, empty after; what was reserved before it is settled on its own day."""
        budget = Budget("daily", "user", CalendarWindow("day", ZoneInfo("Asia/Tokyo")), 10)
        midnight = datetime(2026, 11, 24, tzinfo=ZoneInfo("Asia/Tokyo")).timestamp()

        def drawn(now: float) -> Charge:
            return charges([budget], caller("alice"), ENDPOINT, now)[0]

        await accepted(ledger, "late", call_request(10, drawn(midnight - 1)), now=midnight - 1)
        assert await ledger.reserve("a", call_request(1, drawn(midnight - 0.5)), now=midnight - 0.5) == LimitExceeded(
            "budget", "daily", 10, 0, midnight
        )
        await ledger.settle("late", amount=None, now=midnight)
        assert await sums(ledger, drawn(midnight - 1), drawn(midnight)) == [(10, 0), (0, 0)]
        assert await ledger.reserve("b", call_request(10, drawn(midnight)), now=midnight) == Granted()
        assert await sums(ledger, drawn(midnight)) == [(0, 10)]

    async def test_a_rolling_window(self, ledger: Ledger) -> None:
        """Spending comes back a day after it was done, part by part, and never in between."""
        budget = Budget("rolling", "user", RollingWindow(24), 24)

        def drawn(now: float) -> Charge:
            return charges([budget], caller("alice"), ENDPOINT, now)[0]

        for n in range(24):
            await accepted(ledger, f"job{n}", call_request(1, drawn(NOW + n * HOUR)), now=NOW + n * HOUR)
            await ledger.settle(f"job{n}", amount=None, now=NOW + n * HOUR)
        for hours in (23.5, 23.999):
            assert isinstance(
                await ledger.reserve("t", call_request(1, drawn(NOW + hours * HOUR)), now=NOW + hours * HOUR),
                LimitExceeded,
            )
        assert [await sums(ledger, drawn(NOW + n * HOUR)) for n in (24, 25, 26, 30, 48)] == [
            [(spent, 0)] for spent in (24, 23, 22, 18, 0)
        ]

    async def test_only_what_counts_is_counted(self, ledger: Ledger) -> None:
        """The buckets of an account from the oldest that a charge names, and no older ones."""
        for bucket in range(10):
            await ledger.reserve(f"t{bucket}", call_request(2**bucket, replace(charge(10**6), current=bucket)), now=NOW)

        assert await sums(ledger, replace(charge(), current=9, oldest=6)) == [(0, 64 + 128 + 256 + 512)]

    async def test_a_plan_that_changes(self, ledger: Ledger) -> None:
        """An upgrade gives room at once, a downgrade takes it; what was spent stays spent on both."""
        day = CalendarWindow("day", ZoneInfo("UTC"))
        budget = Budget("daily", "user", day, None, tiers=Tiers("plan", {"free": 10, "pro": 100}))

        async def ask(call_id: str, amount: int, plan: str) -> object:
            (drawn,) = charges([budget], caller("alice", plan=plan), ENDPOINT, NOW)
            return await ledger.reserve(call_id, call_request(amount, drawn), now=NOW)

        assert await ask("a", 10, "free") == Granted()
        assert isinstance(await ask("b", 1, "free"), LimitExceeded)
        assert await ask("c", 50, "pro") == Granted()
        assert isinstance(await ask("d", 1, "free"), LimitExceeded)
        assert isinstance(await ask("e", 41, "pro"), LimitExceeded)
        assert await ask("f", 40, "pro") == Granted()
        assert isinstance(await ask("g", 1, "gold"), LimitExceeded)

    async def test_callers_share_what_is_global(self, ledger: Ledger) -> None:
        """Each has their own budget and slots, and all draw on the operator's."""
        day = CalendarWindow("day", ZoneInfo("UTC"))
        budgets = [Budget("mine", "user", day, 10), Budget("ours", "global", day, 15)]
        rules = [InFlightLimit("jobs", "user", 2, 600.0), InFlightLimit("all", "global", 3, 600.0)]

        async def ask(call_id: str, who: Caller) -> str:
            drawn = charges(budgets, who, ENDPOINT, NOW)
            request = ReservationRequest(who.key, ENDPOINT, 5, drawn, slots(rules, who, ENDPOINT), DAY)
            result = await ledger.reserve(call_id, request, now=NOW)
            return result.name if isinstance(result, LimitExceeded) else "reserved"

        alice, bob = caller("alice"), caller("bob")
        assert [await ask(f"a{n}", alice) for n in range(3)] == ["reserved", "reserved", "mine"]
        assert [await ask(f"b{n}", bob) for n in range(2)] == ["reserved", "ours"]
        await ledger.refund("a0", now=NOW)
        assert await ask("b", bob) == "reserved"
        assert [(line.caller, line.submits) for line in await ledger.report(since=TODAY, until=TODAY)] == [
            (alice.key, 2),
            (bob.key, 2),
        ]


class ReportSuite:
    async def test_by_day_caller_and_endpoint(self, ledger: Ledger) -> None:
        """In order, both ends included, each line booked on the day (UTC) its reservation was made."""
        midnight = datetime(2026, 11, 24, tzinfo=UTC).timestamp()
        made = [
            ("b", "fal-ai/b", midnight - 1),
            ("a", "fal-ai/b", midnight - 1),
            ("a", "fal-ai/a", midnight - 1),
            ("a", "fal-ai/a", midnight),
            ("a", "fal-ai/a", midnight + DAY),
        ]
        for n, (who, endpoint, now) in enumerate(made):
            await ledger.reserve(f"t{n}", ReservationRequest(who, endpoint, n + 1, (charge(),), (), 9 * DAY), now=now)
            await ledger.accept(f"t{n}", f"job{n}", now=now)
        await ledger.settle("job2", amount=2, now=midnight + DAY)

        assert await ledger.report(since=TODAY, until=date(2026, 11, 24)) == (
            DailyUsage(TODAY, "a", "fal-ai/a", 1, 2, 0, 1, 0, 0),
            DailyUsage(TODAY, "a", "fal-ai/b", 1, 0, 2, 0, 0, 0),
            DailyUsage(TODAY, "b", "fal-ai/b", 1, 0, 1, 0, 0, 0),
            DailyUsage(date(2026, 11, 24), "a", "fal-ai/a", 1, 0, 4, 0, 0, 0),
        )
        assert len(await ledger.report(since=date(2026, 11, 25), until=date(2026, 12, 1))) == 1

    async def test_an_empty_ledger(self, ledger: Ledger) -> None:
        """Nothing spent, nothing held, nothing to report, nothing to sweep, and it answers."""
        await ledger.ping()

        assert await ledger.statuses((), (), now=NOW) == ()
        assert await ledger.statuses((charge(),), (slot(),), now=NOW) == (
            AllowanceStatus("daily", 100, 0, 0, charge().renews_at),
            AllowanceStatus("jobs", 2, 0, 0, None, kind="in-flight"),
        )
        assert await ledger.report(since=TODAY, until=TODAY) == ()
        assert await ledger.sweep(now=NOW) == 0


class ClaimSuite:
    async def test_the_first_one_works_the_others_wait(self, ledger: Ledger) -> None:
        """A hundred twins at once: one is first, and all of them get its answer."""
        answers = await asyncio.gather(*(claimed(ledger, owner=f"o{n}") for n in range(100)))
        assert (answers.count(KeyState.FRESH), answers.count(KeyState.BUSY)) == (1, 99)

        await ledger.store_answer(
            "key", b"\x00\xff answer", owner=f"o{answers.index(KeyState.FRESH)}", now=NOW, ttl=DAY
        )
        assert {await claimed(ledger, owner=f"p{n}") for n in range(3)} == {StoredAnswer(b"\x00\xff answer")}

    async def test_another_body(self, ledger: Ledger) -> None:
        """The key is taken, under way and answered alike."""
        await claimed(ledger, owner="o")
        assert await claimed(ledger, body="other", owner="p") is KeyState.MISMATCH
        await ledger.store_answer("key", b"", owner="o", now=NOW, ttl=DAY)
        assert await claimed(ledger, body="other", owner="p") is KeyState.MISMATCH
        assert await claimed(ledger, key="other", body="other", owner="p") is KeyState.FRESH

    async def test_freed(self, ledger: Ledger) -> None:
        """By its owner, and only while there is no answer: then the next claim is first, with any body."""
        await claimed(ledger, owner="o")
        await ledger.free_key("key", owner="p")
        assert await claimed(ledger, owner="p") is KeyState.BUSY
        await ledger.free_key("key", owner="o")
        assert await claimed(ledger, body="other", owner="p") is KeyState.FRESH

    async def test_an_answer_stays(self, ledger: Ledger) -> None:
        """No second answer, no freeing and no other owner changes the stored answer."""
        await claimed(ledger, owner="o")
        await ledger.store_answer("key", b"stranger", owner="p", now=NOW, ttl=DAY)
        assert await claimed(ledger, owner="q") is KeyState.BUSY
        await ledger.store_answer("key", b"first", owner="o", now=NOW, ttl=DAY)
        await ledger.store_answer("key", b"second", owner="o", now=NOW, ttl=DAY)
        await ledger.free_key("key", owner="o")
        assert await claimed(ledger, owner="q") == StoredAnswer(b"first")

    async def test_an_owner_who_died(self, ledger: Ledger) -> None:
        """After its hold the outcome is unknown, and stays so; the owner, if late, may still tell."""
        await claimed(ledger, owner="o")
        assert await claimed(ledger, owner="p", now=NOW + 59.9) is KeyState.BUSY
        for later in (60.0, DAY - 1):
            assert await claimed(ledger, owner="p", now=NOW + later) is KeyState.UNKNOWN
        assert await claimed(ledger, body="other", owner="p", now=NOW + 60) is KeyState.MISMATCH
        await ledger.store_answer("key", b"late", owner="o", now=NOW + 61, ttl=DAY)
        assert await claimed(ledger, owner="p", now=NOW + 62) == StoredAnswer(b"late")

    @pytest.mark.parametrize("sweeps", [False, True], ids=["unswept", "swept"])
    async def test_forgotten(self, ledger: Ledger, sweeps: bool) -> None:
        """A key counts for its ttl from the claim, or from the answer; then it is as new."""
        await claimed(ledger, "silent", owner="o")
        await claimed(ledger, "answered", owner="o")
        await ledger.store_answer("answered", b"x", owner="o", now=NOW + 1, ttl=DAY)
        if sweeps:
            await ledger.sweep(now=NOW + DAY)

        assert await claimed(ledger, "silent", owner="p", now=NOW + DAY) is KeyState.FRESH
        assert await claimed(ledger, "answered", owner="p", now=NOW + DAY) == StoredAnswer(b"x")
        assert await claimed(ledger, "answered", owner="p", now=NOW + DAY + 1) is KeyState.FRESH

    async def test_nothing_to_store_or_free(self, ledger: Ledger) -> None:
        """A key without a claim stores no answer."""
        await ledger.store_answer("key", b"x", owner="o", now=NOW, ttl=DAY)
        await ledger.free_key("key", owner="o")

        assert await claimed(ledger, owner="o") is KeyState.FRESH


class LedgerSuite(ReserveSuite, EndingSuite, SlotSuite, SweepSuite, WindowSuite, ReportSuite, ClaimSuite):
    pass


class SharedLedgerSuite:
    async def test_two_see_one_book(self, ledgers: tuple[Ledger, Ledger]) -> None:
        """A reservation of one ledger is settled, released, swept, reported and claimed by the other."""
        here, there = ledgers
        await accepted(here, "job", call_request(10, charge(), slot()))
        await there.release("job", now=NOW)
        assert await in_flight(here, slot()) == [0]
        assert await there.settle("job", amount=4, now=NOW) is True
        assert await here.settle("job", amount=4, now=NOW) is False
        assert await sums(here, charge()) == await sums(there, charge()) == [(4, 0)]

        await here.reserve("lost", call_request(6, charge(), ttl=10.0), now=NOW)
        assert [await there.sweep(now=NOW + 10), await here.sweep(now=NOW + 10)] == [1, 0]
        assert await here.report(since=TODAY, until=TODAY) == await there.report(since=TODAY, until=TODAY)

        assert await claimed(here, owner="o") is KeyState.FRESH
        assert await claimed(there, owner="p") is KeyState.BUSY
        await here.store_answer("key", b"x", owner="o", now=NOW, ttl=DAY)
        assert await claimed(there, owner="p") == StoredAnswer(b"x")

    async def test_a_barrier_across_two(self, ledgers: tuple[Ledger, Ledger]) -> None:
        """A hundred callers of each on room for 37: exactly 37 get in."""
        for n in range(5):
            drawn = charge(37, name=f"round{n}")
            answers = await asyncio.gather(
                *(ledgers[i % 2].reserve(f"{n}-{i}", call_request(1, drawn), now=NOW) for i in range(200))
            )

            assert answers.count(Granted()) == 37
            assert [await sums(ledger, drawn) for ledger in ledgers] == [[(0, 37)]] * 2

    async def test_twins_at_two(self, ledgers: tuple[Ledger, Ledger]) -> None:
        """One key, claimed at both at once, many times: one owner each."""
        for n in range(20):
            answers = await asyncio.gather(*(claimed(ledgers[i % 2], f"k{n}", owner=f"o{i}") for i in range(20)))

            assert answers.count(KeyState.FRESH) == 1

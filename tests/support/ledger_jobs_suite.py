"""Conformance suite of lost calls, jobs, credits, thresholds, blocks, clocks and dumps.

A store's tests subclass the classes here and give them a fixture `ledger`, one that is empty.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from support.ledger_suite import (
    DAY,
    ENDPOINT,
    HOUR,
    NOW,
    TODAY,
    call_request,
    caller,
    charge,
    in_flight,
    lacking,
    slot,
    sums,
)

from proxy.billing.budgets import Budget, CalendarWindow, RollingWindow, charges
from proxy.billing.ledger.interface import (
    Blocked,
    Call,
    CallNote,
    Charge,
    Crossing,
    DailyUsage,
    Granted,
    InFlightSlot,
    KeyClaim,
    KeyState,
    Ledger,
    LimitExceeded,
    ReservationRequest,
    StoredAnswer,
)
from proxy.billing.ledger.jobs import FORGOTTEN, Credit, ForgottenUser, JobState, Row
from proxy.billing.ledger.looks import FIRST_LOOK, LONGEST_PAUSE

ALL_STATES: frozenset[JobState] = frozenset({"queued", "running", "completed", "failed", "cancelled", "unknown"})
NOTE = CallNote("fingerprint", 120.0)


def noted(*allowances: Charge | InFlightSlot, note: CallNote = NOTE) -> ReservationRequest:
    return replace(call_request(5, *(allowances or (charge(),))), note=note)


def keyed(key: str = "key", body: str = "body") -> ReservationRequest:
    return replace(call_request(5, charge()), claim=KeyClaim(key, body, DAY, 60.0))


async def submitted(ledger: Ledger, call_id: str, request: ReservationRequest, *, now: float = NOW) -> None:
    """Reserves *request*, and accepts it as job `app/<call_id>` under the key alias `second`."""
    assert await ledger.reserve(call_id, request, now=now) == Granted()
    await ledger.accept(call_id, f"app/{call_id}", key_alias="second", now=now)


class LostCallSuite:
    async def test_a_repeat_while_the_caller_is_connected_is_a_new_call(self, ledger: Ledger) -> None:
        """Two clicks with the same input are two jobs."""
        await submitted(ledger, "one", noted())

        assert await ledger.reserve("two", noted(), now=NOW) == Granted()
        assert await sums(ledger, charge()) == [(0, 10)]

    async def test_a_repeat_joins_a_lost_call(self, ledger: Ledger) -> None:
        """A repeat gets the job of the lost call, and reserves nothing."""
        await submitted(ledger, "one", noted())
        await ledger.mark_lost("one", NOTE, now=NOW + 1)

        assert await ledger.reserve("two", noted(), now=NOW + 2) == Call("one", "app/one", "second", NOW, None, True)
        assert await sums(ledger, charge()) == [(0, 5)]

    async def test_a_lost_call_is_joined_before_its_acceptance(self, ledger: Ledger) -> None:
        """The repeat polls the call until its job is there; None once fal refused it."""
        for call_id in ("accepted", "refused"):
            await ledger.reserve(call_id, noted(), now=NOW)
        for call_id in ("accepted", "refused"):
            await ledger.mark_lost(call_id, NOTE, now=NOW)
        for call_id in ("accepted", "refused"):
            assert await ledger.reserve("two", noted(), now=NOW) == Call(call_id, None, "", NOW, None, True)
        await ledger.accept("accepted", "app/job", key_alias="", now=NOW)
        await ledger.refund("refused", now=NOW)

        assert await ledger.call("accepted", now=NOW) == Call("accepted", "app/job", "", NOW, None, True)
        assert await ledger.call("refused", now=NOW) is None
        assert await ledger.reserve("three", noted(), now=NOW) == Granted()

    async def test_each_repeat_takes_one_lost_call(self, ledger: Ledger) -> None:
        """Ten lost calls give ten jobs, none twice, the oldest first; the eleventh repeat is a new call."""
        for n in range(10):
            await submitted(ledger, f"call{n}", noted())
        for n in range(10):
            await ledger.mark_lost(f"call{n}", NOTE, now=NOW + n)
        joined = [await ledger.reserve(f"repeat{n}", noted(), now=NOW + 10) for n in range(11)]

        assert [one.id if isinstance(one, Call) else one for one in joined] == [f"call{n}" for n in range(10)] + [
            Granted()
        ]

    async def test_a_joined_call_is_joined_again_once_its_joiner_is_lost(self, ledger: Ledger) -> None:
        """While the joiner is connected a further repeat is a new call."""
        await submitted(ledger, "one", noted())
        await ledger.mark_lost("one", NOTE, now=NOW)
        assert isinstance(await ledger.reserve("two", noted(), now=NOW), Call)
        assert await ledger.reserve("three", noted(), now=NOW) == Granted()
        await ledger.mark_lost("one", NOTE, now=NOW + 1)

        assert isinstance(await ledger.reserve("four", noted(), now=NOW + 1), Call)

    async def test_an_answered_call_is_not_joined(self, ledger: Ledger) -> None:
        """Once the caller has its answer a repeat is a new call, also where the call was lost in between."""
        await submitted(ledger, "one", noted())
        await ledger.mark_lost("one", NOTE, now=NOW)
        assert isinstance(await ledger.reserve("two", noted(), now=NOW), Call)
        ledger.end_note("one")

        assert await ledger.reserve("three", noted(), now=NOW + 1) == Granted()

    async def test_a_lost_call_is_joined_for_its_time(self, ledger: Ledger) -> None:
        """After rejoin_seconds a repeat is a new call; other fingerprints are other calls."""
        await submitted(ledger, "one", noted())
        await ledger.mark_lost("one", NOTE, now=NOW)

        other = CallNote("other", 120.0)
        assert await ledger.reserve("two", noted(note=other), now=NOW + 1) == Granted()
        assert await ledger.reserve("three", noted(), now=NOW + 120) == Granted()

    async def test_the_answer_of_a_lost_run(self, ledger: Ledger) -> None:
        """A run that completes after its caller was lost is settled, and its answer waits for the repeat."""
        await ledger.reserve("run", noted(), now=NOW)
        await ledger.mark_lost("run", NOTE, now=NOW)
        assert await ledger.settle_call("run", amount=None, now=NOW + 1) is True
        await ledger.answer_call("run", b"\x00answer", now=NOW + 1, ttl=120.0)

        assert await ledger.reserve("two", noted(), now=NOW + 2) == Call("run", None, "", NOW, b"\x00answer", True)
        assert await sums(ledger, charge()) == [(5, 0)]

    async def test_a_run_is_lost_after_its_end(self, ledger: Ledger) -> None:
        """The connection may end while the answer is being written."""
        await ledger.reserve("run", noted(), now=NOW)
        await ledger.settle_call("run", amount=None, now=NOW + 1)
        await ledger.answer_call("run", b"answer", now=NOW + 1, ttl=120.0)
        await ledger.mark_lost("run", NOTE, now=NOW + 1)

        joined = await ledger.reserve("two", noted(), now=NOW + 2)
        assert isinstance(joined, Call)
        assert (joined.id, joined.answer) == ("run", b"answer")

    async def test_without_rejoining_nothing_is_joined(self, ledger: Ledger) -> None:
        """With rejoin_seconds = 0 every repeat is a new call."""
        off = CallNote("fingerprint", 0.0)
        await submitted(ledger, "one", noted(note=off))
        await ledger.mark_lost("one", off, now=NOW)

        assert await ledger.reserve("two", noted(note=off), now=NOW) == Granted()


class ClaimedReservationSuite:
    async def test_a_key_is_claimed_with_the_reservation(self, ledger: Ledger) -> None:
        """A concurrent duplicate is busy and reserves nothing; another body is a mismatch."""
        assert await ledger.reserve("one", keyed(), now=NOW) == Granted()

        assert await ledger.reserve("two", keyed(), now=NOW) is KeyState.BUSY
        assert await ledger.reserve("two", keyed(body="other"), now=NOW) is KeyState.MISMATCH
        assert await ledger.reserve("two", keyed("other"), now=NOW) == Granted()
        assert await sums(ledger, charge()) == [(0, 10)]

    async def test_an_accepted_key_answers_with_its_job(self, ledger: Ledger) -> None:
        """No answer is stored for a submit: the key leads to the job, also after the job has ended."""
        await submitted(ledger, "one", keyed())
        expected = Call("one", "app/one", "second", NOW, None, True)

        assert await ledger.reserve("two", keyed(), now=NOW + 1) == expected
        await ledger.settle("app/one", amount=None, now=NOW + 2)
        assert await ledger.reserve("two", keyed(), now=NOW + 3) == expected
        assert await ledger.reserve("two", keyed(body="other"), now=NOW + 3) is KeyState.MISMATCH
        assert await ledger.reserve("two", keyed(), now=NOW + DAY) == Granted()

    async def test_a_refund_frees_the_key(self, ledger: Ledger) -> None:
        """A submit that fal refused may be sent again under its key."""
        await ledger.reserve("one", keyed(), now=NOW)
        await ledger.refund("one", now=NOW)

        assert await ledger.reserve("two", keyed(body="other"), now=NOW) == Granted()

    async def test_a_refusal_claims_nothing(self, ledger: Ledger) -> None:
        """Without room in a budget the key stays fresh."""
        full = replace(keyed(), charges=(charge(0),))
        assert isinstance(await ledger.reserve("one", full, now=NOW), LimitExceeded)

        assert await ledger.reserve("two", keyed(), now=NOW) == Granted()

    async def test_a_stored_answer_of_a_reservation(self, ledger: Ledger) -> None:
        """The reservation owns the claim: its answer is stored under its id."""
        await ledger.reserve("one", keyed(), now=NOW)
        await ledger.store_answer("key", b"answer", owner="one", now=NOW, ttl=DAY)

        assert await ledger.reserve("two", keyed(), now=NOW + 1) == StoredAnswer(b"answer")

    async def test_an_unanswered_key_is_unknown_after_its_hold(self, ledger: Ledger) -> None:
        """A call that ended without an outcome is never sent again under its key."""
        await ledger.reserve("one", keyed(), now=NOW)

        assert await ledger.reserve("two", keyed(), now=NOW + 59.9) is KeyState.BUSY
        assert await ledger.reserve("two", keyed(), now=NOW + 60) is KeyState.UNKNOWN


class JobSuite:
    async def test_a_job_and_its_line_item(self, ledger: Ledger) -> None:
        """A job is queued, then running, then ended with its price; it is found by its name and its id."""
        await submitted(ledger, "one", call_request(10, charge(), slot()))
        queued = await ledger.job("app/one")
        await ledger.set_running("app/one", now=NOW + 1)
        running = await ledger.job("one")
        await ledger.settle("app/one", amount=4, state="completed", now=NOW + 2)
        ended = await ledger.job("app/one")

        assert queued is not None
        assert (queued.id, queued.job, queued.key_alias, queued.caller) == ("one", "app/one", "second", "alice")
        assert (queued.endpoint, queued.state, queued.amount, queued.price) == (ENDPOINT, "queued", 10, None)
        assert (queued.created, queued.ended) == (NOW, None)
        assert running == replace(queued, state="running")
        assert ended == replace(queued, state="completed", price=4, ended=NOW + 2)
        assert await ledger.job("one") == ended
        assert await ledger.job("app/other") is None

    async def test_the_state_of_an_end(self, ledger: Ledger) -> None:
        """Failed, cancelled and unknown jobs are distinguished.

        A job that a sweep ends is unknown; a refusal leaves none.
        """
        for state in ("failed", "cancelled", "unknown"):
            await submitted(ledger, state, call_request(1, charge()))
            await ledger.settle(f"app/{state}", amount=0, state=state, now=NOW)
        await ledger.reserve("swept", call_request(1, charge(), ttl=100.0), now=NOW)
        await ledger.reserve("refused", call_request(1, charge()), now=NOW)
        await ledger.refund("refused", now=NOW)
        await ledger.sweep(now=NOW + 100)
        jobs = await ledger.jobs("alice", states=ALL_STATES, limit=10)

        assert {job.id: (job.state, job.job, job.price) for job in jobs} == {
            "failed": ("failed", "app/failed", 0),
            "cancelled": ("cancelled", "app/cancelled", 0),
            "unknown": ("unknown", "app/unknown", 0),
            "swept": ("unknown", None, 1),
        }

    async def test_jobs_are_listed_newest_first(self, ledger: Ledger) -> None:
        """In pages, by state, and only the caller's own."""
        for n in range(7):
            await submitted(ledger, f"job{n}", call_request(1, charge()), now=NOW + n)
        await ledger.reserve("other", replace(call_request(1, charge()), caller="bob"), now=NOW)
        for n in (1, 3, 6):
            await ledger.settle(f"app/job{n}", amount=None, now=NOW + 10)
        pages, before = [], None
        while page := await ledger.jobs("alice", states=ALL_STATES, limit=3, before=before):
            pages.append([job.id for job in page])
            before = (page[-1].created, page[-1].id)
        completed = await ledger.jobs("alice", states=frozenset({"completed"}), limit=2)

        assert pages == [["job6", "job5", "job4"], ["job3", "job2", "job1"], ["job0"]]
        assert [job.id for job in completed] == ["job6", "job3"]
        assert [job.id for job in await ledger.jobs("bob", states=ALL_STATES, limit=9)] == ["other"]
        assert await ledger.jobs("carol", states=ALL_STATES, limit=9) == ()

    async def test_open_calls_of_all_callers(self, ledger: Ledger) -> None:
        """Open calls of all callers are counted, the newest listed first; ended and refunded ones are not."""
        for n in range(5):
            await submitted(ledger, f"job{n}", call_request(1, charge()), now=NOW + n)
        await ledger.reserve("run", replace(call_request(1, charge()), caller="bob"), now=NOW + 5)
        await ledger.reserve("refused", call_request(1, charge()), now=NOW + 6)
        await ledger.refund("refused", now=NOW + 7)
        await ledger.settle("app/job4", amount=None, now=NOW + 7)
        number, records = await ledger.open_calls(limit=3)

        assert number == 5
        assert [(one.id, one.caller) for one in records] == [("run", "bob"), ("job3", "alice"), ("job2", "alice")]

    async def test_a_job_is_due_after_its_first_minute(self, ledger: Ledger) -> None:
        """A job is due after a minute, then after half its age up to ten minutes, and never once it ended."""
        await submitted(ledger, "one", call_request(1, charge()))
        await submitted(ledger, "ended", call_request(1, charge()))
        await ledger.settle("app/ended", amount=None, now=NOW)
        looks = []
        now = NOW
        while now < NOW + 2 * HOUR:
            now += 1.0
            for job in await ledger.take_due(now=now, limit=10):
                assert job.id == "one"
                looks.append(now - NOW)

        assert looks[:4] == [FIRST_LOOK, 90.0, 135.0, 203.0]
        assert max(later - earlier for earlier, later in pairwise(looks)) == LONGEST_PAUSE

    async def test_a_call_without_a_job_is_never_due(self, ledger: Ledger) -> None:
        """There is nothing to ask about."""
        await ledger.reserve("run", call_request(1, charge(), slot()), now=NOW)

        assert await ledger.take_due(now=NOW + HOUR, limit=10) == ()
        assert await ledger.take_oldest(slot().account, now=NOW + HOUR, limit=3, apart=5.0) == ()

    async def test_holders_of_full_slots_are_due_first(self, ledger: Ledger) -> None:
        """Of jobs that are due those of a full account are taken before older ones."""
        for n in range(3):
            await submitted(ledger, f"wide{n}", call_request(1, charge(), slot(9, name="wide")), now=NOW)
        for n in range(2):
            await submitted(ledger, f"full{n}", call_request(1, charge(), slot(2, name="full")), now=NOW + 10 + n)
        refused = await ledger.reserve("third", call_request(1, charge(), slot(2, name="full")), now=NOW + 15)
        due = await ledger.take_due(now=NOW + 100, limit=2)

        assert isinstance(refused, LimitExceeded)
        assert {job.id for job in due} == {"full0", "full1"}

    async def test_a_limited_number_is_due_at_once(self, ledger: Ledger) -> None:
        """Jobs beyond the limit are still due."""
        for n in range(5):
            await submitted(ledger, f"job{n}", call_request(1, charge()))
        first = await ledger.take_due(now=NOW + 60, limit=3)
        rest = await ledger.take_due(now=NOW + 60, limit=3)

        assert (len(first), len(rest)) == (3, 2)
        assert len({job.id for job in (*first, *rest)}) == 5

    async def test_the_oldest_jobs_of_an_account(self, ledger: Ledger) -> None:
        """Up to so many that hold a slot, each at most every so many seconds."""
        for n in range(5):
            await submitted(ledger, f"job{n}", call_request(1, charge(), slot(9)), now=NOW + n)
        await ledger.release("app/job0", now=NOW + 5)
        account = slot().account

        first = await ledger.take_oldest(account, now=NOW + 10, limit=3, apart=5.0)
        second = await ledger.take_oldest(account, now=NOW + 11, limit=3, apart=5.0)
        assert [job.id for job in first] == ["job1", "job2", "job3"]
        assert [job.id for job in second] == ["job4"]
        assert await ledger.take_oldest(account, now=NOW + 12, limit=3, apart=5.0) == ()
        assert await ledger.next_look(account, now=NOW + 12, apart=5.0) == 3.0
        assert len(await ledger.take_oldest(account, now=NOW + 15, limit=3, apart=5.0)) == 3

    async def test_a_slot_ends_early_without_acceptance(self, ledger: Ledger) -> None:
        """An unknown outcome frees the slot after call_seconds; an accepted job keeps it for its lease."""
        request = replace(call_request(1, charge(), slot(9, lease=600.0)), call_seconds=30.0)
        await ledger.reserve("unknown", request, now=NOW)
        await submitted(ledger, "job", request)

        assert await in_flight(ledger, slot(), now=NOW + 29.9) == [2]
        assert await in_flight(ledger, slot(), now=NOW + 30) == [1]
        assert await in_flight(ledger, slot(), now=NOW + 600) == [0]
        assert await sums(ledger, charge()) == [(0, 2)]

    async def test_an_operator_refunds_an_ended_job(self, ledger: Ledger) -> None:
        """A refund moves the price back to the budget, and in the day's usage from used to refunded, once."""
        await submitted(ledger, "one", call_request(10, charge(), charge(name="all")))
        await ledger.settle("app/one", amount=8, now=NOW)

        assert [await ledger.refund_ended("app/one", now=NOW) for _ in range(2)] == [True, False]
        assert await ledger.refund_ended("app/other", now=NOW) is False
        assert await sums(ledger, charge(), charge(name="all")) == [(0, 0)] * 2
        assert await ledger.report(since=TODAY, until=TODAY) == (
            DailyUsage(TODAY, "alice", ENDPOINT, 1, 0, 0, 10, 0, 0),
        )
        job = await ledger.job("app/one")
        assert job is not None
        assert (job.state, job.price) == ("completed", 0)


def credit(amount: int, *, name: str = "one", expires: float | None = None) -> Credit:
    return Credit(name, charge().account, amount, amount, expires)


class CreditSuite:
    async def test_a_credit_is_used_after_the_limit(self, ledger: Ledger) -> None:
        """The budget pays first, the credit the rest; without both there is no room."""
        await ledger.grant_credit(credit(30), now=NOW)
        await submitted(ledger, "one", call_request(90, charge(100)))
        await submitted(ledger, "two", call_request(25, charge(100)))

        assert await sums(ledger, charge()) == [(0, 100)]
        assert [one.left for one in await ledger.credits(charge().account, now=NOW)] == [15]
        (status,) = await ledger.statuses((charge(),), (), now=NOW)
        assert status.credit == 15
        assert await ledger.reserve("three", call_request(16, charge(100)), now=NOW) == lacking(charge(100), 0)
        assert await ledger.reserve("three", call_request(15, charge(100)), now=NOW) == Granted()
        assert await ledger.credits(charge().account, now=NOW) == ()

    async def test_a_settlement_takes_from_the_budget_first(self, ledger: Ledger) -> None:
        """The unspent part of a reservation goes back to the credit first."""
        await ledger.grant_credit(credit(30), now=NOW)
        await submitted(ledger, "one", call_request(110, charge(100)))
        await ledger.settle("app/one", amount=104, now=NOW)

        assert await sums(ledger, charge()) == [(100, 0)]
        assert [one.left for one in await ledger.credits(None, now=NOW)] == [26]
        assert await ledger.refund_ended("app/one", now=NOW) is True
        assert await sums(ledger, charge()) == [(0, 0)]
        assert [one.left for one in await ledger.credits(None, now=NOW)] == [30]

    async def test_a_refund_restores_a_credit(self, ledger: Ledger) -> None:
        """Refused by fal, a call leaves budget and credit as they were."""
        await ledger.grant_credit(credit(30), now=NOW)
        await ledger.reserve("one", call_request(120, charge(100)), now=NOW)
        await ledger.refund("one", now=NOW)

        assert await sums(ledger, charge()) == [(0, 0)]
        assert await ledger.credits(None, now=NOW) == (credit(30),)

    async def test_the_credit_that_expires_first_is_used_first(self, ledger: Ledger) -> None:
        """An expired one counts no more, one without an end is used last."""
        for one in (credit(10, name="forever"), credit(10, name="soon", expires=NOW + 10)):
            await ledger.grant_credit(one, now=NOW)
        await ledger.grant_credit(credit(10, name="later", expires=NOW + 20), now=NOW)
        await ledger.reserve("one", call_request(15, charge(0)), now=NOW)

        left = {one.id: one.left for one in await ledger.credits(None, now=NOW)}
        assert left == {"forever": 10, "later": 5}
        assert await ledger.reserve("two", call_request(11, charge(0)), now=NOW + 20) == replace(
            lacking(charge(0), 0), renews_at=None
        )
        assert await ledger.reserve("two", call_request(10, charge(0)), now=NOW + 20) == Granted()

    async def test_a_credit_is_its_accounts_own(self, ledger: Ledger) -> None:
        """Another account has none of it."""
        await ledger.grant_credit(credit(30), now=NOW)

        other = charge(0, name="other")
        assert isinstance(await ledger.reserve("one", call_request(1, other), now=NOW), LimitExceeded)


class OperatorSuite:
    async def test_a_blocked_caller(self, ledger: Ledger) -> None:
        """New calls are refused and cost nothing; others and ended jobs are as before."""
        await submitted(ledger, "one", call_request(1, charge()))
        await ledger.set_blocked("alice", blocked=True, now=NOW)

        assert await ledger.reserve("two", call_request(1, charge()), now=NOW) is Blocked.BLOCKED
        assert await ledger.blocked_callers(["alice", "bob"]) == {"alice"}
        assert await ledger.reserve("bob", replace(call_request(1, charge()), caller="bob"), now=NOW) == Granted()
        assert await ledger.settle("app/one", amount=None, now=NOW) is True
        await ledger.set_blocked("alice", blocked=False, now=NOW)
        assert await ledger.blocked_callers(["alice", "bob"]) == frozenset()
        assert await ledger.reserve("two", call_request(1, charge()), now=NOW) == Granted()

    async def test_a_reset(self, ledger: Ledger) -> None:
        """Use is reset in the accounts of the call; reservations and other accounts stay."""
        both = charge(), charge(name="all")
        await submitted(ledger, "one", call_request(10, *both))
        await submitted(ledger, "two", call_request(5, *both))
        await ledger.settle("app/one", amount=None, now=NOW)

        assert await ledger.reset([charge().account, "daily:nobody"], now=NOW) == 10
        assert await sums(ledger, *both) == [(0, 5), (10, 5)]


class ForgetSuite:
    async def test_a_forgotten_user(self, ledger: Ledger) -> None:
        """Calls, answers and credits go, sums of days stay without the user, and others keep all."""
        for name in ("alice", "bob"):
            await submitted(ledger, name, replace(call_request(10, charge()), caller=name))
            await ledger.settle(f"app/{name}", amount=None, now=NOW)
        claimed = replace(keyed(), caller="alice")
        assert await ledger.reserve("run", claimed, now=NOW) == Granted()
        await ledger.store_answer("key", b"a picture", owner="run", now=NOW, ttl=DAY)
        await ledger.settle_call("run", amount=None, now=NOW)
        await ledger.grant_credit(credit(30), now=NOW)

        assert await ledger.forget(ForgottenUser("alice", (charge().account,)), now=NOW) == 0
        assert await ledger.jobs("alice", states=ALL_STATES, limit=10) == ()
        assert len(await ledger.jobs("bob", states=ALL_STATES, limit=10)) == 1
        assert await ledger.credits(None, now=NOW) == ()
        assert await sums(ledger, charge()) == [(25, 0)]
        days = await ledger.report(since=TODAY, until=TODAY)
        assert [(day.caller, day.submits, day.used) for day in days] == [("bob", 1, 10), (FORGOTTEN, 2, 15)]
        assert await ledger.reserve("again", claimed, now=NOW) == Granted()

    async def test_the_spending_of_a_forgotten_user(self, ledger: Ledger) -> None:
        """The buckets of the accounts go on request, and those of others stay."""
        both = charge(), charge(name="all")
        await submitted(ledger, "one", call_request(10, *both))
        await ledger.settle("app/one", amount=None, now=NOW)

        assert await ledger.forget(ForgottenUser("alice", (charge().account,), spends=True), now=NOW) == 0
        assert await sums(ledger, *both) == [(0, 0), (10, 0)]

    async def test_a_user_with_open_calls_is_not_forgotten(self, ledger: Ledger) -> None:
        """A reservation must find its records when it ends."""
        await submitted(ledger, "one", call_request(10, charge()))

        assert await ledger.forget(ForgottenUser("alice"), now=NOW) == 1
        assert len(await ledger.jobs("alice", states=ALL_STATES, limit=10)) == 1


class ThresholdSuite:
    async def test_thresholds_are_crossed_once(self, ledger: Ledger) -> None:
        """The reservation that reaches a threshold reports it, once in its bucket, also after a refund."""
        drawn = replace(charge(100), thresholds=(50, 80, 100))
        crossed = []
        for n, amount in enumerate((49, 1, 40, 9)):
            granted = await ledger.reserve(f"t{n}", call_request(amount, drawn), now=NOW)
            assert isinstance(granted, Granted)
            crossed.append([one.percent for one in granted.crossed])
        await ledger.refund("t1", now=NOW)
        again = await ledger.reserve("again", call_request(1, drawn), now=NOW)

        assert crossed == [[], [50], [80], []]
        assert again == Granted()
        full = await ledger.reserve("last", call_request(1, drawn), now=NOW)
        assert full == Granted(crossed=(Crossing("daily", drawn.account, 100, 100),))

    async def test_the_first_refusal_crosses_the_limit(self, ledger: Ledger) -> None:
        """A budget with too little left is exhausted for its caller: reported once."""
        drawn = replace(charge(100), thresholds=(80, 100))
        await ledger.reserve("t", call_request(95, drawn), now=NOW)
        refused = [await ledger.reserve(f"r{n}", call_request(10, drawn), now=NOW) for n in range(2)]

        assert [one.crossed for one in refused if isinstance(one, LimitExceeded)] == [
            (Crossing("daily", drawn.account, 100, 100),),
            (),
        ]

    async def test_a_new_bucket_crosses_anew(self, ledger: Ledger) -> None:
        """The next day reports its own."""
        today = replace(charge(10), thresholds=(100,))
        tomorrow = replace(today, current=20261124, oldest=20261124)
        granted = [
            await ledger.reserve(f"t{n}", call_request(10, one), now=NOW) for n, one in enumerate((today, tomorrow))
        ]

        assert [len(one.crossed) for one in granted if isinstance(one, Granted)] == [1, 1]


class ClockSuite:
    @pytest.mark.parametrize(
        "window", [RollingWindow(24), CalendarWindow("day", ZoneInfo("UTC"))], ids=["rolling", "day"]
    )
    async def test_a_clock_set_back_gives_no_budget_back(
        self, ledger: Ledger, window: RollingWindow | CalendarWindow
    ) -> None:
        """A spent budget stays spent when the clock goes back by an hour, also over midnight."""
        budget = Budget("b", "user", window, 10)
        midnight = NOW + DAY / 2

        def drawn(now: float) -> Charge:
            return charges([budget], caller("alice"), ENDPOINT, now)[0]

        assert await ledger.reserve("t", call_request(10, drawn(midnight + 60)), now=midnight + 60) == Granted()
        for back in (60.0, 600.0, HOUR, 2 * HOUR):
            then = midnight + 60 - back
            assert isinstance(await ledger.reserve("u", call_request(1, drawn(then)), now=then), LimitExceeded)

    async def test_a_clock_that_jumps_ahead_erases_nothing(self, ledger: Ledger) -> None:
        """One sweep two days ahead leaves buckets, reservations and slots as they were."""
        await submitted(ledger, "one", call_request(10, charge(), slot(2, lease=HOUR)))
        await submitted(ledger, "two", call_request(5, charge()))
        await ledger.settle("app/two", amount=None, now=NOW)
        await ledger.sweep(now=NOW + 2 * DAY)

        assert await sums(ledger, charge()) == [(5, 10)]
        assert await in_flight(ledger, slot()) == [1]

    async def test_slots_are_live_again_after_a_jump(self, ledger: Ledger) -> None:
        """A look at a time ahead, without a sweep, changes nothing either."""
        await submitted(ledger, "one", call_request(1, charge(), slot(1, lease=HOUR)))
        assert await in_flight(ledger, slot(), now=NOW + 2 * DAY) == [0]

        assert await in_flight(ledger, slot()) == [1]
        assert isinstance(await ledger.reserve("two", call_request(1, charge(), slot(1)), now=NOW), LimitExceeded)


class DumpSuite:
    async def test_a_dump_fills_another_ledger(self, ledger: Ledger, empty: Ledger) -> None:
        """Every sum, slot, key, job, credit and block is the same there, and what is open goes on."""
        await ledger.grant_credit(credit(30), now=NOW)
        await submitted(ledger, "open", call_request(10, charge(), slot()))
        await submitted(ledger, "done", call_request(5, charge()))
        await ledger.settle("app/done", amount=3, state="failed", now=NOW + 1)
        await submitted(ledger, "keyed", keyed())
        await ledger.claim_key("stored", "body", owner="o", now=NOW, ttl=DAY, hold=60.0)
        await ledger.store_answer("stored", b"\xff", owner="o", now=NOW, ttl=DAY)
        await ledger.set_blocked("mallory", blocked=True, now=NOW)
        count = await empty.load(ledger.dump(), now=NOW)

        assert count >= 9
        assert await sums(empty, charge()) == await sums(ledger, charge()) == [(3, 15)]
        assert await in_flight(empty, slot()) == [1]
        assert await empty.report(since=TODAY, until=TODAY) == await ledger.report(since=TODAY, until=TODAY)
        assert await empty.credits(None, now=NOW) == (credit(30),)
        assert await empty.jobs("alice", states=ALL_STATES, limit=9) == await ledger.jobs(
            "alice", states=ALL_STATES, limit=9
        )
        assert await empty.reserve("x", keyed(), now=NOW) == Call("keyed", "app/keyed", "second", NOW, None, True)
        assert await empty.claim_key("stored", "body", owner="p", now=NOW, ttl=DAY, hold=60.0) == StoredAnswer(b"\xff")
        blocked = replace(call_request(1, charge()), caller="mallory")
        assert await empty.reserve("x", blocked, now=NOW) is Blocked.BLOCKED
        assert await empty.settle("app/open", amount=None, now=NOW + 2) is True
        assert await sums(empty, charge()) == [(13, 5)]

    async def test_only_an_empty_ledger_is_filled(self, ledger: Ledger, empty: Ledger) -> None:
        """A ledger in use is left as it is, and so is one given rows of another shape."""

        async def wrong() -> AsyncIterator[Row]:
            yield "bucket", {"account": "a"}

        await submitted(ledger, "one", call_request(1, charge()))
        with pytest.raises(ValueError, match="not empty"):
            await ledger.load(empty.dump(), now=NOW)
        with pytest.raises(ValueError, match="bucket"):
            await empty.load(wrong(), now=NOW)
        assert await sums(empty, charge()) == [(0, 0)]


class LedgerJobsSuite(
    LostCallSuite,
    ClaimedReservationSuite,
    JobSuite,
    CreditSuite,
    OperatorSuite,
    ForgetSuite,
    ThresholdSuite,
    ClockSuite,
    DumpSuite,
):
    """All of it."""

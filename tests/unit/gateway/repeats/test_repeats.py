"""Tests of repeats that join a lost call, over a ledger in memory and a scripted answer."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.auth.authorization import Grant
from proxy.auth.caller import Caller
from proxy.billing.call_notes import CallNotes
from proxy.billing.ledger.interface import Call, CallNote, Granted, ReservationRequest
from proxy.billing.ledger.sqlite_ledger import SqliteLedger
from proxy.billing.reservations import Accounting, Earlier
from proxy.errors import ClientGone, OutcomeUnknown, Refusal, StoreAway, Unavailable
from proxy.gateway.admission import Admitted
from proxy.gateway.repeats.call_identity import IdempotencySettings
from proxy.gateway.repeats.repeats import Repeats
from proxy.http.request import Request
from proxy.http.response import Response
from proxy.ratelimit.rate_limiter import Quota
from proxy.telemetry.access_record import AccessRecord

NOW = 1_000.0
NOTE = CallNote("fingerprint", 120.0)
CLICK = ReservationRequest("alice", "fal-ai/x", 0, (), (), 3600.0, 30.0, NOTE, None)
CALLER = Caller("https://app.example.com", "alice", "alice", frozenset(), 9e9, {})


class OneLostCall:
    """The accounting of a ledger with one lost call, as far as a repeat needs it."""

    def __init__(self, ledger: SqliteLedger) -> None:
        self.ledger = ledger

    async def reserve_call(self, call_id: str, *_: object, **options: object) -> object:
        result = await self.ledger.reserve(call_id, CLICK, now=NOW)
        return Earlier(Quota(), self.ledger, CLICK, result, CALLER) if isinstance(result, Call) else result

    async def look_again(self, call_id: str, earlier: Earlier) -> object:
        accounting = SimpleNamespace(_clock=lambda: NOW)
        return await Accounting.look_again(cast(Accounting, accounting), call_id, earlier)


async def lost_call(*, job: str | None = "app/job") -> SqliteLedger:
    ledger = SqliteLedger()
    assert await ledger.reserve("call", CLICK, now=NOW) == Granted()
    if job is not None:
        await ledger.accept("call", job, now=NOW)
    await ledger.mark_lost("call", NOTE, now=NOW)
    return ledger


async def repeat(ledger: SqliteLedger, call_id: str, *answers: Response | Exception, gone: bool = False) -> object:
    """Returns the result of a repeat whose answer for the job is the next of *answers*."""
    script = list(answers)

    async def answer_job(*_: object) -> Response:
        answer = script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    accounting = cast(Accounting, OneLostCall(ledger))
    notes = CallNotes(clock=lambda: NOW, ttl=60.0, rejoin=120.0, away=lambda: None)
    repeats = Repeats(accounting, notes, cast(Any, None), IdempotencySettings(wait=0.0))
    exchange = cast(Any, SimpleNamespace(gone=gone, on_leave=None))
    request = Request("POST", b"/queue/fal-ai/x", b"", [], {}, "127.0.0.1", cast(Any, None), "", exchange)
    target = cast(Any, SimpleNamespace(action="submit", endpoint="fal-ai/x", query="", app="fal-ai/x"))
    payload = cast(Any, SimpleNamespace(digest=lambda: b"", drop_value=lambda: None, endpoint="fal-ai/x"))
    record = AccessRecord(call_id, "POST", b"/", lambda: NOW)
    try:
        return await repeats.reserve(
            request, Grant(CALLER, target, None), Admitted(payload, (), Quota()), record, answer_job=answer_job
        )
    finally:
        await asyncio.sleep(0)  # a lost call is written by a task


ANSWER = Response(200, b"{}")


@pytest.mark.parametrize("refusal", [Unavailable(), StoreAway(reason="away")], ids=["fal", "store"])
async def test_a_refused_repeat_gives_the_call_back(refusal: Refusal) -> None:
    """A client repeats after a 503: that repeat joins the same call, and is not a second job."""
    ledger = await lost_call()
    with pytest.raises(type(refusal)):
        await repeat(ledger, "first", refusal)
    second = await repeat(ledger, "second", ANSWER)

    assert isinstance(second, Response)
    assert second.status == 200
    assert await repeat(ledger, "third") == Granted()


async def test_an_unknown_outcome_ends_the_call() -> None:
    """No stock client repeats after a 504, so the user who clicks again wants another job."""
    ledger = await lost_call(job=None)
    with pytest.raises(OutcomeUnknown):
        await repeat(ledger, "first")

    assert await repeat(ledger, "second") == Granted()


async def test_a_repeat_that_is_lost_gives_the_call_back() -> None:
    """A repeat whose client has disconnected leaves the call to the next one."""
    ledger = await lost_call()
    with pytest.raises(ClientGone):
        await repeat(ledger, "first", gone=True)

    assert isinstance(await repeat(ledger, "second", ANSWER), Response)


async def test_a_store_that_fails_during_the_wait() -> None:
    """While the earlier call is known and cannot be read, the outcome is unknown: a 503 would be repeated."""

    class Away(SqliteLedger):
        async def call(self, call_id: str, *, now: float) -> Call | None:
            raise StoreAway(reason="redis")

    accounting = cast(Accounting, SimpleNamespace(_clock=lambda: NOW))
    earlier = Earlier(Quota(), Away(), CLICK, Call("call", None, "", NOW, None, alive=True), CALLER)
    with pytest.raises(OutcomeUnknown):
        await Accounting.look_again(accounting, "first", earlier)

"""Repeats of a call: answered by the earlier call with the same key, or by one with a lost caller."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from types import TracebackType

from proxy.auth.authorization import Authorization, Grant
from proxy.billing.call_notes import CallNotes
from proxy.billing.ledger.interface import Call, KeyState, StoredAnswer
from proxy.billing.reservations import Accounting, Earlier, Reservation
from proxy.errors import BadRequest, ClientGone, FieldError, OutcomeUnknown, Refusal, RunFailed, ValidationFailed
from proxy.gateway.admission import Admitted
from proxy.gateway.job_responses import submit_response
from proxy.gateway.repeats.call_identity import IdempotencySettings, call_note, key_claim
from proxy.gateway.repeats.stored_answer import REPLAYED, dump_answer, load_answer
from proxy.http.fields import Fields
from proxy.http.request import Request
from proxy.http.response import Response, error_response
from proxy.telemetry.access_record import AccessRecord
from proxy.upstream.outcomes import Accepted

AnswerJob = Callable[[str, Request, Grant, Fields], Awaitable[Response]]
OUTCOME = "replayed"  # of a repeat, in the log and the metrics
POLL_INTERVAL = 0.05  # seconds between two looks for the answer of a call under way
_REUSED: FieldError = {
    "loc": ["header", "idempotency-key"],
    "msg": "This key was used before with another request",
    "type": "idempotency_key_reused",
}


class Repeats:
    """Reservations of calls that may be repeats, and answers stored for the repeats to come."""

    def __init__(
        self,
        accounting: Accounting,
        notes: CallNotes,
        authorization: Authorization,
        settings: IdempotencySettings,
    ) -> None:
        self._accounting = accounting
        self._notes = notes
        self._authorization = authorization
        self._settings = settings
        # Returns the block that encloses a new call, from its reservation to its response.
        self.watch = partial(WatchedCall, notes, settings.max_answer)

    async def reserve(
        self,
        request: Request,
        grant: Grant,
        admitted: Admitted,
        record: AccessRecord,
        *,
        answer_job: AnswerJob | None = None,
    ) -> Reservation | Response:
        """Returns the reservation of a new call, or the answer of the call that this one repeats.

        *answer_job* answers for an earlier call that has a job; without it that is the answer of a submit.

        Raises the refusals of `Accounting.reserve_call`, BadRequest (malformed key), ValidationFailed (a key used with
        another body), OutcomeUnknown, and ClientGone.
        """
        key = request.fields_by_name.get(b"idempotency-key")
        try:
            claim = None if key is None else key_claim(key, grant, admitted, self._settings)
        except Refusal as refusal:
            await self._accounting.count_refused(grant, request.address, refusal)
            raise
        result = await self._accounting.reserve_call(
            record.request_id,
            grant,
            admitted.payload,
            request.address,
            note=call_note(request, grant, admitted, self._settings) if key is None else None,
            claim=claim,
            quota=admitted.quota,
        )
        admitted.payload.drop_value()
        if isinstance(result, Earlier):
            return await self._join(result, request, grant, record, answer_job or self._submit_answer)
        record.observed = result.observed
        return result

    async def _join(
        self, earlier: Earlier, request: Request, grant: Grant, record: AccessRecord, answer_job: AnswerJob
    ) -> Reservation | Response:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.wait_for(grant.target.action)
        result: Reservation | Earlier = earlier
        with _Joiner(self._notes, request, earlier) as joiner, record.waits:
            while isinstance(result, Earlier):
                joiner.follow(result)
                answer = _stored_answer(result)
                if isinstance(result.state, Call) and result.state.job is not None:
                    owned = replace(grant, key_alias=result.state.key_alias)
                    answer = await answer_job(result.state.job, request, owned, (REPLAYED,))
                if answer is not None:
                    record.outcome = OUTCOME
                    return replace(answer, headers=(*answer.headers, *result.quota.headers))
                if loop.time() >= deadline:
                    raise OutcomeUnknown(reason="the earlier call is still under way")
                await asyncio.sleep(POLL_INTERVAL)
                result = await self._accounting.look_again(record.request_id, result)
        record.observed = result.observed
        return result

    async def _submit_answer(self, job: str, request: Request, grant: Grant, fields: Fields) -> Response:
        """The answer to a submit again, built from the job: its place in the queue by then is not known."""
        upstream_id = job.rpartition("/")[2]
        handle = self._authorization.sign_handle(grant, upstream_id)
        return submit_response(
            Accepted(upstream_id, "IN_QUEUE", 0),
            request.public_url,
            app=grant.target.app,
            handle=handle,
            headers=fields,
        )


def _stored_answer(earlier: Earlier) -> Response | None:
    """Returns the stored answer of an earlier call, None where it has a job or is under way.

    Raises ValidationFailed and OutcomeUnknown.
    """
    match earlier.state:
        case StoredAnswer(answer):
            return load_answer(answer)
        case KeyState.MISMATCH:
            raise ValidationFailed([_REUSED])
        case KeyState.UNKNOWN:
            raise OutcomeUnknown(reason="the first call with this key ended without an outcome")
        case Call(answer=bytes(answer)):
            return load_answer(answer)
        case Call(alive=False, job=None):
            raise OutcomeUnknown(reason="the worker of the earlier call has ended")
        case _:
            return None


class WatchedCall:
    """Block around a new call: `async with repeats.watch(...) as call:`.

    Set *answer* where the call has no job that rebuilds it. The end of the caller's connection is written to the
    ledger at once: a repeat joins the call while it is still under way. Leaving the block stores the answer, where a
    repeat may need it, or ends the note.
    """

    __slots__ = ("_exchange", "_losing", "_max_answer", "_notes", "_reservation", "answer")

    def __init__(self, notes: CallNotes, max_answer: int, request: Request, reservation: Reservation) -> None:
        self.answer: Response | None = None
        self._notes = notes
        self._exchange = request.exchange
        self._reservation = reservation
        self._max_answer = max_answer
        self._losing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> WatchedCall:
        exchange = self._exchange
        if exchange is not None:
            if exchange.gone:
                self._leave()
            else:
                exchange.on_leave = self._leave
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._exchange is not None:
            self._exchange.on_leave = None
        if error is not None:
            if not isinstance(error, OutcomeUnknown | RunFailed):
                return  # a defect or a stop: the outcome is unknown to every repeat
            self.answer = error_response(error)
        reservation, losing = self._reservation, self._losing
        request, ledger = reservation.request, reservation.ledger
        if request is None or ledger is None:
            return
        if losing is not None:
            await losing
        if self.answer is not None and (losing is not None or request.claim is not None):
            await self._notes.store(reservation, self._stored(self.answer), lost=losing is not None)
        if losing is None and request.note is not None:
            ledger.end_note(reservation.id)

    def _leave(self) -> None:
        request = self._reservation.request
        note = None if request is None else request.note
        self._losing = self._notes.lose(self._reservation.ledger, self._reservation.id, note)

    def _stored(self, answer: Response) -> bytes:
        stored = dump_answer(answer)
        return stored if len(stored) <= self._max_answer else dump_answer(error_response(replay_unavailable()))


class _Joiner:
    """Block around the wait of a repeat for the answer of an earlier call.

    A repeat that is lost too gives the call back at once, so that the next repeat joins it.
    """

    __slots__ = ("_call_id", "_exchange", "_ledger", "_lost", "_note", "_notes")

    def __init__(self, notes: CallNotes, request: Request, earlier: Earlier) -> None:
        self._notes = notes
        self._exchange = request.exchange
        self._ledger = earlier.ledger
        self._note = earlier.request.note
        self._call_id = _joined_id(earlier)
        self._lost = False

    def __enter__(self) -> _Joiner:
        if self._exchange is not None:
            if self._exchange.gone:
                self._leave()
            else:
                self._exchange.on_leave = self._leave
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._exchange is not None:
            self._exchange.on_leave = None
        if error is None or isinstance(error, OutcomeUnknown):
            self._end()
        elif not self._lost:
            self._leave()  # the client may repeat after such a refusal

    def follow(self, earlier: Earlier) -> None:
        """Takes the call that is waited for now. Raises ClientGone where the repeat's caller has left."""
        self._call_id = _joined_id(earlier)
        if self._lost:
            raise ClientGone("the caller disconnected before the earlier call was answered")

    def _end(self) -> None:
        """Ends the note of the earlier call: this caller gets its answer, or its unknown outcome."""
        if self._call_id and self._note is not None:
            self._ledger.end_note(self._call_id)

    def _leave(self) -> None:
        self._lost = True
        if self._call_id:
            self._notes.lose(self._ledger, self._call_id, self._note)


def _joined_id(earlier: Earlier) -> str:
    """Returns the id of the call that a repeat joins, "" where it waits for a key alone."""
    return earlier.state.id if isinstance(earlier.state, Call) else ""


def replay_unavailable(handle: str | None = None) -> BadRequest:
    """Returns the refusal of a repeat whose answer is not stored. *handle*: its job's, where it has one."""
    return BadRequest(
        "The call with this key was made, but its answer is not stored. Use another key to call again",
        error_type="replay_unavailable",
        facts={"request_id": handle},
    )

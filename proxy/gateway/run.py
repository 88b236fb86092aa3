"""fal.run: a model asked and answered in one call, or as it goes. There is no job, so the answer settles the money."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

from proxy.auth.authorization import Grant
from proxy.billing.reservations import Spending, Ticket, run_of
from proxy.errors import BadRequest, OutcomeUnknown, Refusal, UpstreamFailed
from proxy.fal_api import headers
from proxy.gateway.job_responses import JobAnswers
from proxy.gateway.stream_slots import Ended, Place
from proxy.gateway.streaming_response import Streamed
from proxy.http.fields import Fields, by_name, first
from proxy.http.response import Answer
from proxy.http.sse import HEARTBEAT, last_words
from proxy.payload.policy import Payload
from proxy.telemetry.access_record import AccessRecord
from proxy.upstream.body import Source
from proxy.upstream.job_end import Ending
from proxy.upstream.outcomes import EVENT_STREAM_TYPE, Outcome, Relayed, outcome_of
from proxy.upstream.relay import Relay
from proxy.upstream.secret_filter import Sieve

_WHOLE = frozenset({Ended.FAL_ENDED})
# Of these a reader of events is told in words; what fal broke off must look broken off.
_TOLD = frozenset({Ended.EXPIRED, Ended.TOO_OLD, Ended.DRAINING})


class Runs:
    """Both raise the refusals of `outcomes`. A caller's leaving stops neither before its outcome is known."""

    def __init__(self, relay: Relay, answers: JobAnswers, spending: Spending) -> None:
        self._relay = relay
        self._answers = answers
        self._spending = spending

    async def run(self, grant: Grant, payload: Payload, chosen: Fields, ticket: Ticket, record: AccessRecord) -> Answer:
        try:
            with record.upstream_clock():
                relayed = await self._relay.run(grant, payload, chosen)
            answer = self._ran(relayed, ticket)
        except Refusal as refusal:
            await self._refused(ticket, outcome_of(refusal), record)
            raise
        await self._answered(ticket, relayed, record)
        return answer

    async def stream(
        self,
        grant: Grant,
        payload: Payload,
        chosen: Fields,
        ticket: Ticket,
        place: Place,
        held: AsyncExitStack,
        record: AccessRecord,
    ) -> Answer | Streamed:
        """Takes *held* over once content is to come. From a 2xx head on it is paid for, however it ends."""
        try:
            with record.upstream_clock():
                said = await self._relay.run_stream(grant, payload, chosen, held)
        except Refusal as refusal:
            await self._refused(ticket, outcome_of(refusal), record)
            raise
        if isinstance(said, Relayed):
            await self._answered(ticket, said, record)
            return self._ran(said, ticket)
        record.outcome = Outcome.ACCEPTED
        # The reservation and the seat stay until the end of the stream: it is one run in flight for as long.
        await self._spending.settle(ticket, Outcome.ACCEPTED, run_of(ticket))
        held.push_async_callback(self._spending.conclude, ticket, Ending())
        return self._streamed(said, ticket, place, held.pop_all())

    def _ran(self, relayed: Relayed, ticket: Ticket) -> Answer:
        fields = (*relayed.headers, *ticket.fields)
        if relayed.outcome is not Outcome.ACCEPTED:
            return Answer(relayed.status, relayed.body, fields)
        try:
            return self._answers.ran(relayed.status, relayed.body, headers=fields)
        except UpstreamFailed as error:
            raise OutcomeUnknown(reason=f"fal answered a run, but: {error}") from error

    async def _answered(self, ticket: Ticket, relayed: Relayed, record: AccessRecord) -> None:
        record.outcome = relayed.outcome
        if relayed.outcome is Outcome.REFUSED:
            await self._spending.settle(ticket, Outcome.REFUSED)
        else:
            await self._spending.conclude(ticket, Ending(failed=relayed.outcome is Outcome.FAILED, units=relayed.units))

    async def _refused(self, ticket: Ticket, outcome: Outcome, record: AccessRecord) -> None:
        record.outcome = outcome
        if outcome is Outcome.FAILED:
            await self._spending.conclude(ticket, Ending(failed=True))
        else:
            await self._spending.settle(ticket, outcome)

    def _streamed(self, source: Source, ticket: Ticket, place: Place, held: AsyncExitStack) -> Streamed:
        kind = first(source.headers, b"content-type") or b""
        events = EVENT_STREAM_TYPE.fullmatch(kind) is not None
        fields = ((b"content-type", kind), *headers.from_fal(by_name(source.headers)), *ticket.fields)
        content = _content(place, source, self._relay.sieve(), events=events)
        return Streamed(source.status, fields, content, place, held, _WHOLE | _TOLD if events else _WHOLE)


def unrepeatable(fields: Fields) -> None:
    """Raises BadRequest for an Idempotency-Key: what a run answers is not kept, so it could not be answered again."""
    if first(fields, b"idempotency-key") is not None:
        raise BadRequest(
            "The header idempotency-key is for queue submits; a run cannot be repeated by it", error_type="bad_header"
        )


async def _content(place: Place, source: Source, sieve: Sieve, *, events: bool) -> AsyncGenerator[bytes, None]:
    """The model's own bytes as they come; between the lines of *events* a heartbeat where it is silent."""
    between_lines = True
    try:
        while (chunk := await place.read(source)) is not None:
            if sifted := sieve.sift(chunk):
                yield sifted
                between_lines = sifted.endswith(b"\n")
            elif not chunk and events and between_lines:
                yield HEARTBEAT
            elif not chunk:
                place.spoke()
    except UpstreamFailed as error:
        place.end(Ended.UNFIT, error.reason)
    if place.ended is Ended.FAL_ENDED and (rest := sieve.rest()):
        yield rest
    elif events and between_lines and place.ended in _TOLD:
        yield last_words(str(place.ended))

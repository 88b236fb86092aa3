"""fal.run: a model asked and answered in one call, or as it goes. There is no job, so the answer settles the money."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

from proxy.auth.authorization import Grant
from proxy.billing.reservations import Accounting, Reservation, run_job_name
from proxy.errors import BadRequest, OutcomeUnknown, Refusal, UpstreamFailed
from proxy.fal_api import headers
from proxy.gateway.job_responses import JobResponses
from proxy.gateway.stream_slots import EndReason, StreamSlot
from proxy.gateway.streaming_response import StreamingResponse
from proxy.http.fields import Fields, by_name, first
from proxy.http.response import Response
from proxy.http.sse import HEARTBEAT, last_words
from proxy.payload.body import Payload
from proxy.telemetry.access_record import AccessRecord
from proxy.upstream.body import UpstreamBody
from proxy.upstream.job_end import JobEnd
from proxy.upstream.outcomes import EVENT_STREAM_TYPE, Outcome, UpstreamResult, refusal_outcome
from proxy.upstream.relay import Relay
from proxy.upstream.secret_filter import SecretFilter

_WHOLE = frozenset({EndReason.FAL_ENDED})
# Of these a reader of events is told in words; what fal broke off must look broken off.
_TOLD = frozenset({EndReason.EXPIRED, EndReason.TOO_OLD, EndReason.DRAINING})


class RunCall:
    """Both raise the refusals of `outcomes`. A caller's leaving stops neither before its outcome is known."""

    def __init__(self, relay: Relay, answers: JobResponses, spending: Accounting) -> None:
        self._relay = relay
        self._answers = answers
        self._spending = spending

    async def run(
        self, grant: Grant, payload: Payload, chosen: Fields, ticket: Reservation, record: AccessRecord
    ) -> Response:
        try:
            with record.upstream_clock():
                relayed = await self._relay.run(grant, payload, chosen)
            answer = self._ran(relayed, ticket)
        except Refusal as refusal:
            await self._refused(ticket, refusal_outcome(refusal), record)
            raise
        await self._answered(ticket, relayed, record)
        return answer

    async def stream(
        self,
        grant: Grant,
        payload: Payload,
        chosen: Fields,
        ticket: Reservation,
        place: StreamSlot,
        held: AsyncExitStack,
        record: AccessRecord,
    ) -> Response | StreamingResponse:
        """Takes *held* over once content is to come. From a 2xx head on it is paid for, however it ends."""
        try:
            with record.upstream_clock():
                said = await self._relay.run_stream(grant, payload, chosen, held)
        except Refusal as refusal:
            await self._refused(ticket, refusal_outcome(refusal), record)
            raise
        if isinstance(said, UpstreamResult):
            await self._answered(ticket, said, record)
            return self._ran(said, ticket)
        record.outcome = Outcome.ACCEPTED
        # The reservation and the seat stay until the end of the stream: it is one run in flight for as long.
        await self._spending.settle_submit(ticket, Outcome.ACCEPTED, run_job_name(ticket))
        held.push_async_callback(self._spending.settle_run, ticket, JobEnd())
        return self._streamed(said, ticket, place, held.pop_all())

    def _ran(self, relayed: UpstreamResult, ticket: Reservation) -> Response:
        fields = (*relayed.headers, *ticket.fields)
        if relayed.outcome is not Outcome.ACCEPTED:
            return Response(relayed.status, relayed.body, fields)
        try:
            return self._answers.ran(relayed.status, relayed.body, headers=fields)
        except UpstreamFailed as error:
            raise OutcomeUnknown(reason=f"fal answered a run, but: {error}") from error

    async def _answered(self, ticket: Reservation, relayed: UpstreamResult, record: AccessRecord) -> None:
        record.outcome = relayed.outcome
        if relayed.outcome is Outcome.REFUSED:
            await self._spending.settle_submit(ticket, Outcome.REFUSED)
        else:
            await self._spending.settle_run(
                ticket, JobEnd(failed=relayed.outcome is Outcome.FAILED, units=relayed.units)
            )

    async def _refused(self, ticket: Reservation, outcome: Outcome, record: AccessRecord) -> None:
        record.outcome = outcome
        if outcome is Outcome.FAILED:
            await self._spending.settle_run(ticket, JobEnd(failed=True))
        else:
            await self._spending.settle_submit(ticket, outcome)

    def _streamed(
        self, source: UpstreamBody, ticket: Reservation, place: StreamSlot, held: AsyncExitStack
    ) -> StreamingResponse:
        kind = first(source.headers, b"content-type") or b""
        events = EVENT_STREAM_TYPE.fullmatch(kind) is not None
        fields = ((b"content-type", kind), *headers.from_fal(by_name(source.headers)), *ticket.fields)
        content = _content(place, source, self._relay.secret_filter(), events=events)
        return StreamingResponse(source.status, fields, content, place, held, _WHOLE | _TOLD if events else _WHOLE)


def reject_idempotency_key(fields: Fields) -> None:
    """Raises BadRequest for an Idempotency-Key: what a run answers is not kept, so it could not be answered again."""
    if first(fields, b"idempotency-key") is not None:
        raise BadRequest(
            "The header idempotency-key is for queue submits; a run cannot be repeated by it", error_type="bad_header"
        )


async def _content(
    place: StreamSlot, source: UpstreamBody, sieve: SecretFilter, *, events: bool
) -> AsyncGenerator[bytes, None]:
    """The model's own bytes as they come; between the lines of *events* a heartbeat where it is silent."""
    between_lines = True
    try:
        while (chunk := await place.read(source)) is not None:
            if sifted := sieve.feed(chunk):
                yield sifted
                between_lines = sifted.endswith(b"\n")
            elif not chunk and events and between_lines:
                yield HEARTBEAT
            elif not chunk:
                place.reset_heartbeat()
    except UpstreamFailed as error:
        place.end(EndReason.UNFIT, error.reason)
    if place.ended is EndReason.FAL_ENDED and (rest := sieve.flush()):
        yield rest
    elif events and between_lines and place.ended in _TOLD:
        yield last_words(str(place.ended))

"""Status streams: fal's events about one job, told anew with our ids and addresses."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

from proxy.auth.authorization import Grant
from proxy.billing.reservations import Accounting
from proxy.errors import UpstreamFailed
from proxy.gateway.job_responses import JobResponses
from proxy.gateway.stream_slots import EndReason, StreamSlot
from proxy.gateway.streaming_response import StreamingResponse
from proxy.http.request import Request
from proxy.http.sse import HEARTBEAT, EventReader, event, last_words
from proxy.telemetry.access_record import AccessRecord
from proxy.upstream.body import UpstreamBody
from proxy.upstream.job_end import job_end_from_status
from proxy.upstream.outcomes import Outcome, UpstreamResult
from proxy.upstream.relay import Relay

_EVENTS = (b"content-type", b"text/event-stream")


class StatusStream:
    def __init__(self, relay: Relay, answers: JobResponses, spending: Accounting) -> None:
        self._relay = relay
        self._answers = answers
        self._spending = spending

    async def open(
        self, request: Request, grant: Grant, place: StreamSlot, held: AsyncExitStack, record: AccessRecord
    ) -> StreamingResponse | UpstreamResult:
        """Takes *held* over once events are to come; fal's refusal otherwise. Raises as a status read does."""
        with record.upstream_clock():
            async with request.cancel_on_disconnect():
                said = await self._relay.follow(grant, held)
        if isinstance(said, UpstreamResult):
            return said
        job = (b"x-fal-request-id", (grant.target.handle or "").encode("ascii"))
        return StreamingResponse(200, (_EVENTS, job), self._events(grant, place, said), place, held.pop_all())

    async def _events(self, grant: Grant, place: StreamSlot, source: UpstreamBody) -> AsyncGenerator[bytes, None]:
        reader = EventReader()
        try:
            while (chunk := await place.read(source)) is not None:
                if not chunk:
                    yield HEARTBEAT
                for data in reader.feed(chunk):
                    yield await self._rewrite_event(grant, place, data)
                    if place.ended is not None:
                        break
        except UpstreamFailed as error:
            place.end(EndReason.UNFIT, error.reason)
        if place.ended not in (EndReason.COMPLETED, EndReason.FAL_ENDED):
            yield last_words(str(place.ended))

    async def _rewrite_event(self, grant: Grant, place: StreamSlot, data: bytes) -> bytes:
        """Raises UpstreamFailed for what is not a status, and for what holds the key."""
        target = grant.target
        told = self._answers.followed(200, data, app=target.app, handle=target.handle or "", headers=()).body
        if self._relay.contains_secret(told):
            raise UpstreamFailed(reason="an event holds our key")
        ending = job_end_from_status(target.action, UpstreamResult(Outcome.ACCEPTED, 200, (), data))
        if ending is not None:
            # Before it is told: whoever hears of the end may ask for the next job at once.
            await self._spending.settle_job(f"{target.app}/{grant.upstream_id}", ending)
            place.end(EndReason.COMPLETED)
        return event(told)

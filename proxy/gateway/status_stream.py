"""Status streams: fal's events about one job, told anew with our ids and addresses."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

from starlette.types import Receive

from proxy.auth.authorization import Grant
from proxy.billing.reservations import Spending
from proxy.errors import UpstreamFailed
from proxy.gateway.job_responses import JobAnswers
from proxy.gateway.stream_slots import Ended, Place
from proxy.gateway.streaming_response import Streamed
from proxy.http.server.disconnect import Presence
from proxy.http.sse import HEARTBEAT, EventReader, event, last_words
from proxy.telemetry.access_record import AccessRecord
from proxy.upstream.body import Source
from proxy.upstream.job_end import ending_of
from proxy.upstream.outcomes import Outcome, Relayed
from proxy.upstream.relay import Relay

_EVENTS = (b"content-type", b"text/event-stream")


class Watch:
    def __init__(self, relay: Relay, answers: JobAnswers, spending: Spending) -> None:
        self._relay = relay
        self._answers = answers
        self._spending = spending

    async def open(
        self, receive: Receive, grant: Grant, place: Place, held: AsyncExitStack, record: AccessRecord
    ) -> Streamed | Relayed:
        """Takes *held* over once events are to come; fal's refusal otherwise. Raises as a status read does."""
        with record.upstream_clock():
            async with Presence(receive):
                said = await self._relay.follow(grant, held)
        if isinstance(said, Relayed):
            return said
        job = (b"x-fal-request-id", (grant.target.handle or "").encode("ascii"))
        return Streamed(200, (_EVENTS, job), self._events(grant, place, said), place, held.pop_all())

    async def _events(self, grant: Grant, place: Place, source: Source) -> AsyncGenerator[bytes, None]:
        reader = EventReader()
        try:
            while (chunk := await place.read(source)) is not None:
                if not chunk:
                    yield HEARTBEAT
                for data in reader.feed(chunk):
                    yield await self._retold(grant, place, data)
                    if place.ended is not None:
                        break
        except UpstreamFailed as error:
            place.end(Ended.UNFIT, error.reason)
        if place.ended not in (Ended.COMPLETED, Ended.FAL_ENDED):
            yield last_words(str(place.ended))

    async def _retold(self, grant: Grant, place: Place, data: bytes) -> bytes:
        """Raises UpstreamFailed for what is not a status, and for what holds the key."""
        target = grant.target
        told = self._answers.followed(200, data, app=target.app, handle=target.handle or "", headers=()).body
        if self._relay.withholds(told):
            raise UpstreamFailed(reason="an event holds our key")
        ending = ending_of(target.action, Relayed(Outcome.ACCEPTED, 200, (), data))
        if ending is not None:
            # Before it is told: whoever hears of the end may ask for the next job at once.
            await self._spending.end(f"{target.app}/{grant.upstream_id}", ending)
            place.end(Ended.COMPLETED)
        return event(told)

"""Status streams: fal's events about one job, with our ids and URLs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, AsyncExitStack

from proxy.auth.authorization import Grant
from proxy.auth.caller import Caller
from proxy.billing.reservations import Accounting
from proxy.billing.shortfalls import would_deny
from proxy.errors import UpstreamFailed
from proxy.gateway.admission import Admission
from proxy.gateway.job_responses import status_response
from proxy.gateway.read import read_response
from proxy.gateway.streams.stream_slots import EndReason, StreamRegistry, StreamSlot
from proxy.gateway.streams.streaming_response import StreamingResponse
from proxy.http.request import Request
from proxy.http.response import Response
from proxy.http.sse import HEARTBEAT, EventReader, event, last_words
from proxy.telemetry.access_record import AccessRecord
from proxy.upstream.body import UpstreamBody
from proxy.upstream.job_end import job_end_from_status
from proxy.upstream.outcomes import Outcome, UpstreamResult
from proxy.upstream.relay import Relay

_EVENTS = (b"content-type", b"text/event-stream")


class StatusStream:
    """Operation of a status stream. *session_expiry* gives the end of a caller's session."""

    def __init__(
        self,
        admission: Admission,
        accounting: Accounting,
        relay: Relay,
        streams: StreamRegistry,
        session_expiry: Callable[[Caller], float],
    ) -> None:
        self._admission = admission
        self._accounting = accounting
        self._relay = relay
        self._streams = streams
        self._session_expiry = session_expiry

    async def handle(self, request: Request, grant: Grant, record: AccessRecord) -> Response | StreamingResponse:
        """Returns the stream of events, or fal's refusal. Raises the refusals of each step, and ClientGone."""
        await self._admission.discard(request)
        async with AsyncExitStack() as exit_stack:
            slot = exit_stack.enter_context(self._acquire_slot(grant.caller))
            record.enter("reserve", "counted; reading a job costs nothing")
            quota = await self._accounting.count_request(grant, request.address)
            record.observed = quota.observed
            with record.upstream_clock():
                async with request.cancel_on_disconnect():
                    result = await self._relay.follow(grant, exit_stack)
            fields = (*quota.headers, *would_deny(quota.observed))
            if isinstance(result, UpstreamResult):
                return read_response(grant, result, request.public_url, (*result.headers, *fields))
            job_id = (b"x-fal-request-id", (grant.target.handle or "").encode("ascii"))
            content = self._events(request.public_url, grant, slot, result)
            return StreamingResponse(200, (_EVENTS, job_id, *fields), content, slot, exit_stack.pop_all())

    def _acquire_slot(self, caller: Caller) -> AbstractContextManager[StreamSlot]:
        return self._streams.acquire(caller.key, session=caller, expires=self._session_expiry(caller), paid=False)

    async def _events(
        self, public_url: str, grant: Grant, slot: StreamSlot, source: UpstreamBody
    ) -> AsyncGenerator[bytes, None]:
        reader = EventReader()
        try:
            while (chunk := await slot.read(source)) is not None:
                if not chunk:
                    yield HEARTBEAT
                for data in reader.feed(chunk):
                    yield await self._rewrite_event(public_url, grant, slot, data)
                    if slot.ended is not None:
                        break
        except UpstreamFailed as error:
            slot.end(EndReason.UNFIT, error.reason)
        if slot.ended not in (EndReason.COMPLETED, EndReason.FAL_ENDED):
            yield last_words(str(slot.ended))

    async def _rewrite_event(self, public_url: str, grant: Grant, slot: StreamSlot, data: bytes) -> bytes:
        """Returns the event with our ids. Raises UpstreamFailed for data that is no status, or holds the key."""
        target = grant.target
        handle = target.handle or ""
        content = status_response(200, data, public_url, app=target.app, handle=handle, headers=()).body
        if self._relay.contains_secret(content):
            raise UpstreamFailed(reason="an event holds our key")
        end = job_end_from_status(target.action, UpstreamResult(Outcome.ACCEPTED, 200, (), data))
        if end is not None:
            # Before it is sent: a caller who reads of the end may submit the next job at once.
            await self._accounting.settle_job(f"{target.app}/{grant.upstream_id}", end)
            slot.end(EndReason.COMPLETED)
        return event(content)

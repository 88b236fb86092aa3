"""Run: a model called and answered in one request, whole or as it goes. There is no job to come back to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, AsyncExitStack

from proxy.auth.authorization import Grant
from proxy.auth.caller import Caller
from proxy.billing.reservations import Accounting, Reservation, run_job_name
from proxy.errors import BadRequest
from proxy.fal_api.operations import Action
from proxy.gateway.admission import Admission, Admitted
from proxy.gateway.settlement import PaidCall, settle_result
from proxy.gateway.streams.run_content import run_stream_response
from proxy.gateway.streams.stream_slots import StreamRegistry, StreamSlot
from proxy.gateway.streams.streaming_response import StreamingResponse
from proxy.http.fields import Fields, first
from proxy.http.request import Request
from proxy.http.response import Response
from proxy.telemetry.access_record import AccessRecord
from proxy.upstream.job_end import JobEnd
from proxy.upstream.outcomes import Outcome, UpstreamResult
from proxy.upstream.relay import Relay


class Run:
    """Operation of a run and of a run that streams. *session_expiry* gives the end of a caller's session."""

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
        """Returns the model's answer. A caller who disconnects does not stop a run: its outcome is known.

        Raises the refusals of each step.
        """
        self._relay.check_account(grant)
        reject_idempotency_key(request.headers)
        with self._admission.hold() as hold:
            admitted = await self._admission.admit(request, grant, hold)
            if grant.target.action is Action.RUN:
                return await self._run(request, grant, admitted, record)
            async with AsyncExitStack() as exit_stack:
                slot = exit_stack.enter_context(self._acquire_slot(grant.caller))
                return await self._stream(request, grant, admitted, slot, exit_stack, record)

    async def _run(self, request: Request, grant: Grant, admitted: Admitted, record: AccessRecord) -> Response:
        reservation = await self._reserve(request, grant, admitted, record)
        async with PaidCall(self._accounting, reservation, record):
            result = await self._relay.run(grant, admitted.payload, admitted.options)
        return await self._respond(result, reservation, record)

    async def _stream(
        self,
        request: Request,
        grant: Grant,
        admitted: Admitted,
        slot: StreamSlot,
        exit_stack: AsyncExitStack,
        record: AccessRecord,
    ) -> Response | StreamingResponse:
        """The response takes *exit_stack* over once content is to come. From a 2xx head on the run is paid for."""
        reservation = await self._reserve(request, grant, admitted, record)
        async with PaidCall(self._accounting, reservation, record):
            result = await self._relay.run_stream(grant, admitted.payload, admitted.options, exit_stack)
        if isinstance(result, UpstreamResult):
            return await self._respond(result, reservation, record)
        record.outcome = Outcome.ACCEPTED
        # Reservation and slot stay until the end of the stream: it is one run in flight for as long.
        await self._accounting.settle_submit(reservation, Outcome.ACCEPTED, run_job_name(reservation))
        exit_stack.push_async_callback(self._accounting.settle_run, reservation, JobEnd())
        return run_stream_response(
            result, slot, exit_stack.pop_all(), self._relay.secret_filter(), headers=reservation.fields
        )

    def _acquire_slot(self, caller: Caller) -> AbstractContextManager[StreamSlot]:
        return self._streams.acquire(caller.key, expires=self._session_expiry(caller), paid=True)

    async def _reserve(self, request: Request, grant: Grant, admitted: Admitted, record: AccessRecord) -> Reservation:
        reservation = await self._accounting.reserve(record.request_id, grant, admitted.payload, request.address)
        record.observed = reservation.observed
        return reservation

    async def _respond(self, result: UpstreamResult, reservation: Reservation, record: AccessRecord) -> Response:
        record.outcome = result.outcome
        await settle_result(self._accounting, reservation, result)
        return Response(result.status, result.body, (*result.headers, *reservation.fields))


def reject_idempotency_key(fields: Fields) -> None:
    """Raises BadRequest for an Idempotency-Key: the answer of a run is not stored, so it cannot be sent again."""
    if first(fields, b"idempotency-key") is not None:
        raise BadRequest(
            "The header idempotency-key is for queue submits; a run cannot be repeated by it", error_type="bad_header"
        )

"""Run: a model called and answered in one request, whole or as a stream. It has no job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, AsyncExitStack

from proxy.auth.authorization import Authorization, Grant
from proxy.auth.caller import Caller
from proxy.billing.reservations import Accounting, Reservation
from proxy.fal_api.operations import Action
from proxy.gateway.admission import Admission, Admitted
from proxy.gateway.repeats.repeats import Repeats, replay_unavailable
from proxy.gateway.runs.queued_run import QueuedRun
from proxy.gateway.runs.run_content import run_stream_response
from proxy.gateway.settlement import PaidCall, settle_result
from proxy.gateway.streams.stream_slots import StreamRegistry, StreamSlot
from proxy.gateway.streams.streaming_response import StreamingResponse
from proxy.http.fields import Fields
from proxy.http.request import Request
from proxy.http.response import Response, error_response
from proxy.telemetry.access_record import AccessRecord
from proxy.upstream.job_end import JobEnd
from proxy.upstream.outcomes import Outcome, UpstreamResult
from proxy.upstream.relay import Relay


class Run:
    """Operation of a run and of a run that streams. *session_expiry* gives the end of a caller's session.

    *queued_runs*: the runs of endpoints whose runs are carried over the queue, by endpoint.
    """

    def __init__(
        self,
        admission: Admission,
        accounting: Accounting,
        relay: Relay,
        authorization: Authorization,
        repeats: Repeats,
        streams: StreamRegistry,
        session_expiry: Callable[[Caller], float],
        queued_runs: Mapping[str, QueuedRun],
    ) -> None:
        self._admission = admission
        self._accounting = accounting
        self._relay = relay
        self._authorization = authorization
        self._repeats = repeats
        self._streams = streams
        self._session_expiry = session_expiry
        self._queued_runs = queued_runs

    async def handle(self, request: Request, grant: Grant, record: AccessRecord) -> Response | StreamingResponse:
        """Returns the model's answer. A caller who disconnects does not stop a run: its outcome is known.

        Raises the refusals of each step.
        """
        is_run = grant.target.action is Action.RUN
        if is_run and (queued_run := self._queued_runs.get(grant.target.endpoint)) is not None:
            return await queued_run.handle(request, grant, record)
        if self._relay.account.is_paused:
            self._relay.account.check(grant.target)
        with self._admission.hold(grant.caller.key) as hold:
            admitted = await self._admission.admit(request, grant, hold, record)
            record.enter("reserve")
            async with AsyncExitStack() as exit_stack:
                slot = None if is_run else exit_stack.enter_context(self._acquire_slot(grant.caller))
                reservation = await self._repeats.reserve(request, grant, admitted, record, answer_job=self._no_answer)
                if isinstance(reservation, Response):
                    return reservation
                async with self._repeats.watch(request, reservation) as call:
                    if slot is None:
                        response = call.answer = await self._run(grant, admitted, reservation, record)
                        return response
                    streaming = await self._stream(grant, admitted, reservation, slot, exit_stack, record)
                    call.answer = error_response(replay_unavailable())
                    return streaming

    async def _no_answer(self, job: str, request: Request, grant: Grant, fields: Fields) -> Response:
        """Refuses the repeat of a run whose endpoint was set to `run_via = "queue"` then, and names its job."""
        upstream_id = job.rpartition("/")[2]
        return error_response(replay_unavailable(self._authorization.sign_handle(grant, upstream_id)))

    async def _run(self, grant: Grant, admitted: Admitted, reservation: Reservation, record: AccessRecord) -> Response:
        async with PaidCall(self._accounting, reservation, record):
            result = await self._relay.run(grant, admitted.payload, admitted.options)
        return await self._respond(result, reservation, record)

    async def _stream(
        self,
        grant: Grant,
        admitted: Admitted,
        reservation: Reservation,
        slot: StreamSlot,
        exit_stack: AsyncExitStack,
        record: AccessRecord,
    ) -> Response | StreamingResponse:
        """Returns the stream, which takes *exit_stack* over. From a 2xx head on the run is paid for."""
        async with PaidCall(self._accounting, reservation, record):
            result = await self._relay.run_stream(grant, admitted.payload, admitted.options, exit_stack)
        if isinstance(result, UpstreamResult):
            return await self._respond(result, reservation, record)
        record.outcome = Outcome.ACCEPTED
        # Reservation and slot stay until the end of the stream: it is one run in flight for as long.
        exit_stack.push_async_callback(self._accounting.settle_run, reservation, JobEnd())
        if reservation.ledger is not None:
            await self._accounting.set_running(reservation.id)
        return run_stream_response(
            result, slot, exit_stack.pop_all(), self._relay.secret_filter(), headers=reservation.fields
        )

    def _acquire_slot(self, caller: Caller) -> AbstractContextManager[StreamSlot]:
        return self._streams.acquire(caller.key, session=caller, expires=self._session_expiry(caller), paid=True)

    async def _respond(self, result: UpstreamResult, reservation: Reservation, record: AccessRecord) -> Response:
        record.outcome = result.outcome
        record.enter("settle")
        await settle_result(self._accounting, reservation, result)
        return Response(result.status, result.body, (*result.headers, *reservation.fields))

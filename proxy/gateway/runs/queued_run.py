"""Queued run: carried over fal's queue, so that it has a job to join, to list and to read later."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from proxy.auth.authorization import Authorization, Grant
from proxy.billing.reservations import Accounting, Reservation
from proxy.errors import ClientGone, JobNotFound, OutcomeUnknown, RateLimited, Unavailable, UpstreamFailed
from proxy.fal_api.operations import Action, Surface
from proxy.gateway.admission import Admission, Admitted
from proxy.gateway.job_responses import result_response
from proxy.gateway.repeats.repeats import Repeats
from proxy.gateway.settlement import PaidCall
from proxy.http.fields import Fields
from proxy.http.request import Request
from proxy.http.response import Response
from proxy.telemetry.access_record import AccessRecord
from proxy.upstream.job_end import job_end_from_status
from proxy.upstream.outcomes import Accepted, Outcome, UpstreamResult
from proxy.upstream.relay import Relay

_FIRST_WAIT, _LONGEST_WAIT = 0.1, 1.0  # seconds between two status reads; each wait is twice the one before


class QueuedRun:
    """Operation of a run whose endpoint has `run_via = "queue"`. It answers within *seconds*."""

    def __init__(
        self,
        admission: Admission,
        accounting: Accounting,
        relay: Relay,
        authorization: Authorization,
        repeats: Repeats,
        *,
        seconds: float,
    ) -> None:
        self._admission = admission
        self._accounting = accounting
        self._relay = relay
        self._authorization = authorization
        self._repeats = repeats
        self._seconds = seconds

    async def handle(self, request: Request, grant: Grant, record: AccessRecord) -> Response:
        """Returns the result of the job. A caller who disconnects leaves the job to its repeat.

        Raises the refusals of each step, ClientGone, and OutcomeUnknown with the job's id where it takes too long.
        """
        if self._relay.account.is_paused:
            self._relay.account.check(grant.target)
        with self._admission.hold(grant.caller.key) as hold:
            admitted = await self._admission.admit(request, grant, hold, record)
            record.enter("reserve")
            reservation = await self._repeats.reserve(request, grant, admitted, record, answer_job=self._result)
            if isinstance(reservation, Response):
                return reservation
            async with self._repeats.watch(request, reservation):
                result = await self._submit(grant, admitted, reservation, record)
                if isinstance(result, Response):
                    return result
                keyed = replace(grant, key_alias=result.key_alias)
                job = f"{grant.target.app}/{result.job_id}"
                with record.waits:
                    return await self._result(job, request, keyed, reservation.fields)

    async def _submit(
        self, grant: Grant, admitted: Admitted, reservation: Reservation, record: AccessRecord
    ) -> Accepted | Response:
        """Returns the job that fal accepted, or fal's refusal."""
        submit = _queued(grant, Action.SUBMIT)
        async with PaidCall(self._accounting, reservation, record):
            result = await self._relay.submit(submit, admitted.payload, admitted.options)
        if isinstance(result, UpstreamResult):
            record.outcome = Outcome.REFUSED
            await self._accounting.settle_submit(reservation, Outcome.REFUSED)
            return Response(result.status, result.body, (*result.headers, *reservation.fields))
        record.outcome = Outcome.ACCEPTED
        job = f"{grant.target.app}/{result.job_id}"
        await self._accounting.settle_submit(reservation, Outcome.ACCEPTED, job, key_alias=result.key_alias)
        return result

    async def _result(self, job: str, request: Request, grant: Grant, fields: Fields) -> Response:
        """Waits for the end of *job*, and returns its result under the handle of the job."""
        upstream_id = job.rpartition("/")[2]
        handle = self._handle(grant, upstream_id)
        try:
            async with asyncio.timeout(self._seconds):
                await self._wait(_queued(grant, Action.STATUS, upstream_id), request)
                result = await self._relay.read(_queued(grant, Action.RESULT, upstream_id))
        except TimeoutError as error:
            raise OutcomeUnknown(reason="the job of a run is not done in time", request_id=handle) from error
        except (JobNotFound, RateLimited, Unavailable, UpstreamFailed) as error:
            raise OutcomeUnknown(reason=f"the result of a run: {error}", request_id=handle) from error
        end = job_end_from_status(Action.RESULT, result)
        if end is not None:
            await self._accounting.settle_job(job, end)
        return result_response(result.status, result.body, handle=handle, headers=(*result.headers, *fields))

    async def _wait(self, status: Grant, request: Request) -> None:
        """Returns once the job has ended. A status that cannot be read is read again. Raises JobNotFound."""
        wait = _FIRST_WAIT
        while not await self._has_ended(status):
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)
            if request.exchange is not None and request.exchange.gone:
                raise ClientGone("the caller disconnected before its job had ended")

    async def _has_ended(self, status: Grant) -> bool:
        try:
            return job_end_from_status(Action.STATUS, await self._relay.read(status)) is not None
        except (RateLimited, Unavailable, UpstreamFailed):
            return False

    def _handle(self, grant: Grant, upstream_id: str) -> str:
        try:
            return self._authorization.sign_handle(grant, upstream_id)
        except ValueError as error:
            raise OutcomeUnknown(reason=f"fal accepted a queued run but: {error}") from error


def _queued(grant: Grant, action: Action, upstream_id: str | None = None) -> Grant:
    """The same grant for *action* on the queue, which the run consists of."""
    target = replace(grant.target, action=action, surface=Surface.QUEUE, query="")
    return replace(grant, target=target, upstream_id=upstream_id)

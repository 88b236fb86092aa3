"""Submit: starts a job on fal's queue, once for each reservation."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from proxy.auth.authorization import Authorization, Grant
from proxy.billing.reservations import Accounting, Reservation
from proxy.errors import OutcomeUnknown
from proxy.gateway.admission import Admission, Admitted
from proxy.gateway.job_responses import submit_response
from proxy.gateway.repeats.repeats import Repeats
from proxy.gateway.settlement import PaidCall
from proxy.http.request import Request
from proxy.http.response import Response
from proxy.telemetry.access_record import AccessRecord
from proxy.upstream.outcomes import Accepted, Outcome, UpstreamResult
from proxy.upstream.relay import Relay
from proxy.webhooks.callback_url import CallbackUrls


class Submit:
    """Operation of a submit. With *callback_urls* fal is given a webhook URL of the gateway."""

    def __init__(
        self,
        admission: Admission,
        accounting: Accounting,
        relay: Relay,
        authorization: Authorization,
        repeats: Repeats,
        callback_urls: CallbackUrls | None = None,
    ) -> None:
        self._admission = admission
        self._accounting = accounting
        self._relay = relay
        self._authorization = authorization
        self._repeats = repeats
        self._callback_urls = callback_urls

    async def handle(self, request: Request, grant: Grant, record: AccessRecord) -> Response:
        """Returns the job's handle and URLs.

        A caller who disconnects does not stop a submit, so that its outcome is known. Raises the refusals of each step.
        """
        if self._relay.account.is_paused:
            self._relay.account.check(grant.target)
        with self._admission.hold(grant.caller.key) as hold:
            admitted = await self._admission.admit(request, grant, hold, record)
            if record.trace is not None:
                record.trace.enter("reserve")
            reservation = await self._repeats.reserve(request, grant, admitted, record)
            if isinstance(reservation, Response):
                return reservation
            async with self._repeats.watch(request, reservation):
                return await self._submit(request, grant, admitted, reservation, record)

    async def _submit(
        self, request: Request, grant: Grant, admitted: Admitted, reservation: Reservation, record: AccessRecord
    ) -> Response:
        urls = self._callback_urls
        callback = None if urls is None else partial(urls.query, request.public_url, reservation.id)
        async with PaidCall(self._accounting, reservation, record):
            result = await self._relay.submit(grant, admitted.payload, admitted.options, callback)
            handle = "" if isinstance(result, UpstreamResult) else self._handle(grant, result)
        if isinstance(result, UpstreamResult):
            record.outcome = Outcome.REFUSED
            await self._accounting.settle_submit(reservation, Outcome.REFUSED)
            return Response(result.status, result.body, (*result.headers, *reservation.fields))
        record.outcome = Outcome.ACCEPTED
        app = grant.target.app
        record.job = job = f"{app}/{result.job_id}"
        await self._accounting.settle_submit(reservation, Outcome.ACCEPTED, job, key_alias=result.key_alias)
        if urls is not None:
            await urls.bind(reservation.id, result.job_id)
        return submit_response(result, request.public_url, app=app, handle=handle, headers=reservation.fields)

    def _handle(self, grant: Grant, accepted: Accepted) -> str:
        try:
            if accepted.key_alias:
                grant = replace(grant, key_alias=accepted.key_alias)
            return self._authorization.sign_handle(grant, accepted.job_id)
        except ValueError as error:
            raise OutcomeUnknown(reason=f"fal accepted the submit but: {error}") from error

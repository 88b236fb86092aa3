"""Submit: starts a job on fal's queue, once for each reservation."""

from __future__ import annotations

from proxy.auth.authorization import Authorization, Grant
from proxy.billing.reservations import Accounting
from proxy.errors import OutcomeUnknown
from proxy.gateway.admission import Admission, Admitted
from proxy.gateway.idempotency import IdempotencyKeys
from proxy.gateway.job_responses import submit_response
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
        idempotency: IdempotencyKeys,
        callback_urls: CallbackUrls | None = None,
    ) -> None:
        self._admission = admission
        self._accounting = accounting
        self._relay = relay
        self._authorization = authorization
        self._idempotency = idempotency
        self._callback_urls = callback_urls

    async def handle(self, request: Request, grant: Grant, record: AccessRecord) -> Response:
        """Returns the job's handle and URLs. A caller who disconnects does not stop a submit: its outcome is known.

        Raises the refusals of each step.
        """
        self._relay.check_account(grant)
        with self._admission.hold() as hold:
            admitted = await self._admission.admit(request, grant, hold)
            key = request.named.get(b"idempotency-key")
            if key is None:
                return await self._submit(request, grant, admitted, record)
            return await self._submit_once(key, request, grant, admitted, record)

    async def _submit_once(
        self, key: bytes, request: Request, grant: Grant, admitted: Admitted, record: AccessRecord
    ) -> Response:
        attempt = await self._idempotency.claim(key, grant, admitted.payload)
        if attempt.answer is not None:
            # A replay costs no allowance, but it is a request like any other: keys must not open the windows.
            quota = await self._accounting.count_request(grant, request.address)
            return attempt.answer._replace(headers=(*attempt.answer.headers, *quota.headers))
        async with attempt:
            response = await self._submit(request, grant, admitted, record)
            attempt.keep(response)
        return response

    async def _submit(self, request: Request, grant: Grant, admitted: Admitted, record: AccessRecord) -> Response:
        payload = admitted.payload
        reservation = await self._accounting.reserve(record.request_id, grant, payload, request.address)
        record.observed = reservation.observed
        callback = "" if self._callback_urls is None else self._callback_urls.query(reservation.id, grant)
        async with PaidCall(self._accounting, reservation, record):
            result = await self._relay.submit(grant, payload, admitted.options, callback)
            handle = "" if isinstance(result, UpstreamResult) else self._handle(grant, result)
        if isinstance(result, UpstreamResult):
            record.outcome = Outcome.REFUSED
            await self._accounting.settle_submit(reservation, Outcome.REFUSED)
            return Response(result.status, result.body, (*result.headers, *reservation.fields))
        record.outcome = Outcome.ACCEPTED
        app = grant.target.app
        await self._accounting.settle_submit(reservation, Outcome.ACCEPTED, f"{app}/{result.job_id}")
        if self._callback_urls is not None:
            await self._callback_urls.bind(reservation.id, result.job_id)
        return submit_response(result, request.public_url, app=app, handle=handle, headers=reservation.fields)

    def _handle(self, grant: Grant, accepted: Accepted) -> str:
        try:
            return self._authorization.sign_handle(grant, accepted.job_id)
        except ValueError as error:
            raise OutcomeUnknown(reason=f"fal accepted the submit but: {error}") from error

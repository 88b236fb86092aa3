"""Read: status, result and cancel of a caller's own job."""

from __future__ import annotations

from proxy.auth.authorization import Grant
from proxy.billing.reservations import Accounting
from proxy.billing.shortfalls import would_deny
from proxy.fal_api.operations import Action
from proxy.gateway.admission import Admission
from proxy.gateway.job_responses import result_response, status_response
from proxy.gateway.settlement import end_note
from proxy.http.fields import Fields
from proxy.http.request import Request
from proxy.http.response import Response
from proxy.telemetry.access_record import AccessRecord
from proxy.upstream.job_end import job_end_from_status
from proxy.upstream.outcomes import UpstreamResult
from proxy.upstream.relay import Relay


class Read:
    """Operation of a status read, a result read and a cancel."""

    def __init__(self, admission: Admission, accounting: Accounting, relay: Relay) -> None:
        self._admission = admission
        self._accounting = accounting
        self._relay = relay

    async def handle(self, request: Request, grant: Grant, record: AccessRecord) -> Response:
        """Returns fal's answer about the job, and settles the job where the answer shows its end.

        Raises the refusals of each step, and ClientGone.
        """
        await self._admission.discard(request)
        record.enter("reserve", "counted; reading a job costs nothing")
        quota = await self._accounting.count_request(grant, request.address)
        record.observed = quota.observed
        with record.upstream_clock():
            async with request.cancel_on_disconnect():
                result = await self._relay.read(grant)
        # An answer that cannot be passed on does not show the job's end either, so it is built first.
        fields = (*result.headers, *quota.headers, *would_deny(quota.observed))
        response = read_response(grant, result, request.public_url, fields)
        end = job_end_from_status(grant.target.action, result)
        if end is not None:
            record.enter("settle", end_note(end))
            await self._accounting.settle_job(f"{grant.target.app}/{grant.upstream_id}", end)
        elif result.status == 202 and b'"IN_PROGRESS"' in result.body:
            await self._accounting.set_running(f"{grant.target.app}/{grant.upstream_id}")
        return response


def read_response(grant: Grant, result: UpstreamResult, public_url: str, fields: Fields) -> Response:
    """Returns fal's answer about a job with our ids and URLs. Raises UpstreamFailed where it is not JSON."""
    target = grant.target
    handle = target.handle or ""
    if target.action is Action.RESULT:
        return result_response(result.status, result.body, handle=handle, headers=fields)
    return status_response(result.status, result.body, public_url, app=target.app, handle=handle, headers=fields)

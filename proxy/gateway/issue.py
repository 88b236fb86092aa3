"""Issue: upload slots and realtime tokens. fal issues them at once and without a job."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.auth.authorization import Grant
from proxy.billing.reservations import Accounting
from proxy.fal_api.operations import Action
from proxy.gateway.admission import Admission
from proxy.gateway.settlement import PaidCall, settle_result
from proxy.http.request import Request
from proxy.http.response import Response
from proxy.payload.realtime_tokens import RealtimeTokens
from proxy.payload.uploads import Uploads
from proxy.telemetry.access_record import AccessRecord
from proxy.upstream.outcomes import Outcome
from proxy.upstream.relay import Relay

MAX_BODY = 16 * 1024  # bytes: two names, or a list of apps


class Issue:
    """Operation of an upload announcement and a token request. *rest_actions* holds the rules of each."""

    def __init__(
        self,
        admission: Admission,
        accounting: Accounting,
        relay: Relay,
        rest_actions: Mapping[Action, Uploads | RealtimeTokens],
    ) -> None:
        self._admission = admission
        self._accounting = accounting
        self._relay = relay
        self._rest_actions = rest_actions

    async def handle(self, request: Request, grant: Grant, record: AccessRecord) -> Response:
        """Returns the two URLs or the token of fal's answer. Raises the refusals of each step."""
        if self._relay.account.is_paused:
            self._relay.account.check(grant.target)
        rules = self._rest_actions[grant.target.action]
        record.enter("admit")
        options = rules.forwarded_headers(request.headers)
        payload = rules.admit(grant, await self._admission.read_small(request, limit=MAX_BODY))
        record.enter("reserve")
        reservation = await self._accounting.reserve(record.request_id, grant, payload, request.address)
        record.observed = reservation.observed
        async with PaidCall(self._accounting, reservation, record):
            result = await self._relay.issue(grant, payload, options)
            body = rules.checked_response(result.body) if result.outcome is Outcome.ACCEPTED else result.body
        record.outcome = result.outcome
        record.enter("settle")
        await settle_result(self._accounting, reservation, result)
        return Response(result.status, body, (*result.headers, *reservation.fields))

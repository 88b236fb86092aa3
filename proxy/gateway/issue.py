"""Upload slots and realtime tokens: what fal issues at once. No job hangs on it, so what fails is paid back."""

from __future__ import annotations

from collections.abc import Callable

from proxy.auth.authorization import Grant
from proxy.billing.reservations import Accounting, Reservation
from proxy.errors import Refusal
from proxy.http.fields import Fields
from proxy.http.response import Response
from proxy.payload.body import Payload
from proxy.telemetry.access_record import AccessRecord
from proxy.upstream.job_end import JobEnd
from proxy.upstream.outcomes import Outcome, refusal_outcome
from proxy.upstream.relay import Relay


class IssueCall:
    """Raises the refusals of `outcomes`, and what *checked* raises of what fal says."""

    def __init__(self, relay: Relay, spending: Accounting) -> None:
        self._relay = relay
        self._spending = spending

    async def issue(
        self,
        grant: Grant,
        payload: Payload,
        chosen: Fields,
        ticket: Reservation,
        record: AccessRecord,
        checked: Callable[[bytes], bytes],
    ) -> Response:
        try:
            with record.upstream_clock():
                relayed = await self._relay.issue(grant, payload, chosen)
            said = checked(relayed.body) if relayed.outcome is Outcome.ACCEPTED else relayed.body
        except Refusal as refusal:
            record.outcome = refusal_outcome(refusal)
            await self._spending.settle_submit(ticket, refusal_outcome(refusal))
            raise
        record.outcome = relayed.outcome
        if relayed.outcome is Outcome.ACCEPTED:
            await self._spending.settle_run(ticket, JobEnd())
        else:
            await self._spending.settle_submit(ticket, relayed.outcome)
        return Response(relayed.status, said, (*relayed.headers, *ticket.fields))

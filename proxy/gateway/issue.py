"""Upload slots and realtime tokens: what fal issues at once. No job hangs on it, so what fails is paid back."""

from __future__ import annotations

from collections.abc import Callable

from proxy.auth.authorization import Grant
from proxy.billing.reservations import Spending, Ticket
from proxy.errors import Refusal
from proxy.http.fields import Fields
from proxy.http.response import Answer
from proxy.payload.policy import Payload
from proxy.telemetry.access_record import AccessRecord
from proxy.upstream.job_end import Ending
from proxy.upstream.outcomes import Outcome, outcome_of
from proxy.upstream.relay import Relay


class Issuing:
    """Raises the refusals of `outcomes`, and what *checked* raises of what fal says."""

    def __init__(self, relay: Relay, spending: Spending) -> None:
        self._relay = relay
        self._spending = spending

    async def issue(
        self,
        grant: Grant,
        payload: Payload,
        chosen: Fields,
        ticket: Ticket,
        record: AccessRecord,
        checked: Callable[[bytes], bytes],
    ) -> Answer:
        try:
            with record.upstream_clock():
                relayed = await self._relay.issue(grant, payload, chosen)
            said = checked(relayed.body) if relayed.outcome is Outcome.ACCEPTED else relayed.body
        except Refusal as refusal:
            record.outcome = outcome_of(refusal)
            await self._spending.settle(ticket, outcome_of(refusal))
            raise
        record.outcome = relayed.outcome
        if relayed.outcome is Outcome.ACCEPTED:
            await self._spending.conclude(ticket, Ending())
        else:
            await self._spending.settle(ticket, relayed.outcome)
        return Answer(relayed.status, said, (*relayed.headers, *ticket.fields))

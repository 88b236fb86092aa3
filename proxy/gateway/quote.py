"""Quote: the price of a submit, and the room in the caller's budgets. Nothing is reserved."""

from __future__ import annotations

import orjson

from proxy.auth.authorization import Grant
from proxy.billing.ledger.money import MICRO
from proxy.billing.reservations import Accounting
from proxy.gateway.admission import Admission
from proxy.http.request import Request
from proxy.http.response import Response
from proxy.strict_json import Json
from proxy.telemetry.access_record import AccessRecord


class Quote:
    """Operation of `POST /quote/<endpoint>`."""

    def __init__(self, admission: Admission, accounting: Accounting) -> None:
        self._admission = admission
        self._accounting = accounting

    async def handle(self, request: Request, grant: Grant, record: AccessRecord) -> Response:
        """Returns price and budgets for the payload of a submit. Raises ValidationFailed as a submit does."""
        with self._admission.hold(grant.caller.key) as hold:
            admitted = await self._admission.admit(request, grant, hold, record)
            record.enter("reserve", "nothing is reserved")
            quota = admitted.quota
            record.observed = quota.observed
            quote = await self._accounting.quote(grant, admitted.payload, request.address)
        budgets: list[Json] = [
            {"name": budget.name, "left": budget.left / MICRO, "after": (budget.left - quote.amount) / MICRO}
            for budget in quote.budgets
        ]
        body: dict[str, Json] = {
            "endpoint": grant.target.endpoint,
            "price": quote.amount / MICRO,
            "budgets": budgets,
            "would_be_admitted": quote.reason is None,
            "reason": quote.reason,
        }
        return Response(200, orjson.dumps(body), quota.headers)

"""The address fal is to call when a job ends, one for each submit."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from proxy.auth.authorization import Grant
from proxy.errors import StoreAway
from proxy.webhooks.callback_seal import Context, Seals
from proxy.webhooks.delivery_state import CallbackClaims

ROUTE = b"/webhooks/fal/"


class CallbackUrls:
    """*public_url* is where we are reached, prefix included."""

    def __init__(self, public_url: str, seals: Seals, claims: CallbackClaims, *, clock: Callable[[], float]) -> None:
        self._base = f"{public_url}{ROUTE.decode('ascii')}"
        self._seals = seals
        self._claims = claims
        self._clock = clock

    def query(self, ticket: str, grant: Grant) -> str:
        """The parameter that goes with a submit, ready to be sent."""
        caller = grant.caller
        context = Context(caller.issuer, caller.subject, grant.target.endpoint, ticket, int(self._clock()))
        return f"fal_webhook={quote(self._base + self._seals.seal(context), safe='')}"

    async def bind(self, ticket: str, upstream_id: str) -> bool:
        """From now on the URL of *ticket* is good for this job alone. False where it could not be written down."""
        try:
            return await self._claims.bind(ticket, upstream_id)
        except StoreAway:
            return False
